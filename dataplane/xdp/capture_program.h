// The build of the XDP program that tells of the packets it forwards (bpf/capture.bpf.c), over the live maps.
#pragma once

#include <memory>
#include <string>

#include "dataplane/capture/capture.h"
#include "dataplane/xdp/program.h"

struct linimo_capture_bpf;
struct ring_buffer;

namespace linimo::xdp {

/// What of a request it needs, and for which interface it is.
struct CaptureSetting {
  uint32_t snap, rate;
  uint32_t port;
  Mac mac;  // of the port
  uint32_t first_row, rows;
};

class CaptureProgram {
 public:
  /// Takes up to a second: the kernel's verifier. On any thread, while the program lives. `first`: of another
  /// interface, which has the records of all; nullptr: this one has them.
  static tl::expected<std::unique_ptr<CaptureProgram>, std::string> load(const Program& program,
                                                                         const CaptureSetting& setting,
                                                                         const CaptureProgram* first);
  ~CaptureProgram();

  int fd() const;
  /// Of the first: as Capture::read and missed.
  void read(const Capture::Take& take);
  uint64_t missed() const { return missed_; }

 private:
  CaptureProgram() = default;
  uint64_t count_missed() const;
  static int on_record(void* self, void* data, size_t size);

  linimo_capture_bpf* object_ = nullptr;
  ring_buffer* ring_ = nullptr;
  uint64_t clock_offset_ns_ = 0;           // from the kernel's clock to the one of the wall
  std::unique_ptr<linimo_captured> next_;  // read last
  bool not_taken_ = false;                 // and shown again
  uint64_t missed_ = 0;
  const Capture::Take* take_ = nullptr;
};

}  // namespace linimo::xdp
