// The engine `xdp`, as the suite drives it: the real program in the kernel, one frame at a time
// (BPF_PROG_TEST_RUN), without netdevs.
//
// The kernel's clock cannot be set. So that tests may say what time it is, all that the program remembers is
// made older, or younger, by what the two differ in.
#pragma once

#include <array>
#include <memory>

#include "dataplane/flow/held_fragments.h"
#include "dataplane/xdp/capture_program.h"
#include "dataplane/xdp/program.h"
#include "dataplane/xdp/traced_program.h"
#include "tests/packets/captured_check.h"
#include "tests/packets/engine.h"
#include "tests/packets/fingerprint.h"

namespace linimo::tests {

class XdpEngine : public Engine {
 public:
  enum class Path : uint8_t { kAny, kWhole, kCaptured };
  /// `path`: kCaptured has each packet go by the build for captures, which must tell of it what became of it;
  /// kWhole sends every packet the whole path, also those that the straight one is for.
  explicit XdpEngine(Path path = Path::kAny);

  void apply(const Configuration& configuration) override;
  void forget_flows() override;
  void forget_configuration() override;
  Result run(ByteView frame, uint64_t now_ms) override;
  std::vector<Result> pass_time(uint64_t now_ms) override;
  Asked ask(ByteView frame, uint64_t now_ms) override;
  std::vector<linimo_flow_word> words_to_tell(uint64_t now_ms) override;
  void hear(std::span<const linimo_flow_word> words, uint64_t now_ms) override;
  FlowTable flow_table() override;
  uint64_t flows_left(uint32_t backend_id, uint64_t now_ms) override;
  uint64_t repeated_syns(uint32_t backend_id) override;
  void make_room_for(uint64_t flows) override;
  /// What the straight path does not take is given to the kernel uncounted, until `load` or the end.
  void take_whole_path_away();
  /// Whose driver, as it says, sends nothing in several buffers; until the next configuration.
  void send_one_buffer_only(uint32_t port);

  /// Frames come in two buffers or more, of which the first has so many bytes; 0: as many as there may be.
  /// Kernels before 6.18 take that for a mistake: run() throws.
  void end_first_buffer_at(uint32_t bytes) { first_buffer_ = bytes; }
  static constexpr uint32_t kLongestBuffer = 3520;

 private:
  using Counts = std::array<uint64_t, LINIMO_OUTCOME_COUNT>;
  void load(uint64_t flows);
  void load_capture();
  std::string capture_fault(ByteView frame, const Result& result, const BackendCounts& before);
  void set_clock(uint64_t now_ms);
  Counts outcomes();
  Result run_program(ByteView frame);
  Result take(ByteView frame, const Bytes& bytes, uint64_t now_ms);
  Result hold(ByteView frame, const linimo_xdp_handed& handed, ByteView rest, uint64_t now_ms);
  Result sent_in_fragments(const linimo_xdp_handed& handed, ByteView frame);
  uint32_t port_of(const Bytes& frame) const;

  uint64_t fingerprint() const;
  void add_map(Fingerprint& fingerprint, const char* name, size_t size) const;
  void add_tables(Fingerprint& fingerprint, const char* name, uint32_t tables) const;

  std::unique_ptr<xdp::Program> program_;
  std::unique_ptr<xdp::TracedProgram> traced_;
  std::unique_ptr<xdp::CaptureProgram> capture_;
  Mac mac_of_capture_{};
  int fd_;
  xdp::Shape shape_;
  uint32_t first_buffer_ = 0;
  uint64_t now_ms_ = 0;  // of the last frame
  uint32_t older_ = 0;   // ticks by which all that is remembered has been made older
  std::vector<Mac> port_macs_;
  Path path_;
  UniqueFd whole_;
  UniqueFd socket_;  // AF_XDP, of no queue: it makes the program hand fragments over
  HeldFragments held_;
  uint32_t next_identification_ = 0;
};

/// One for the whole program: loading takes the kernel a while.
XdpEngine& xdp_engine();
XdpEngine& xdp_whole_engine();
XdpEngine& xdp_captured_engine();

}  // namespace linimo::tests
