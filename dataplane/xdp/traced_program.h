// The program's traced build (bpf/trace.bpf.c) over the maps of the one that forwards: what it would do with
// a frame, and why.
//
//   auto traced = TracedProgram::load(program);
//   const auto answer = (*traced)->run(0, row, frame);     // as if it came in by port 0, on that row's queue
//
// Attached to nothing, and it writes nothing that outlasts the frame. Of the control thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include <tl/expected.hpp>

#include "dataplane/forward/traced.h"
#include "dataplane/xdp/program.h"

struct linimo_trace_bpf;

namespace linimo::xdp {

class TracedProgram {
 public:
  /// `program` must outlive it. The error says what to do.
  static tl::expected<std::unique_ptr<TracedProgram>, std::string> load(const Program& program);
  ~TracedProgram();
  TracedProgram(const TracedProgram&) = delete;

  /// The error says why the kernel does not run it for such a frame.
  tl::expected<Traced, std::string> run(uint32_t port, uint32_t row, std::span<const uint8_t> frame);

 private:
  TracedProgram(const Program& program, linimo_trace_bpf* object) : program_(program), object_(object) {}

  const Program& program_;
  linimo_trace_bpf* object_;
};

}  // namespace linimo::xdp
