// The link while the engine loads what an answer takes: that answer waits, nothing else does. And what goes
// over it of itself, captured packets and the counters' memory, is read only if it is what it should be.

#include <algorithm>
#include <cstring>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "dataplane/link/counters_memory.h"
#include "dataplane/link/server.h"
#include "maglev/os/seqpacket.h"
#include "tests/unit/temporary_folder.h"
#include "tests/unit/validating_engine.h"

namespace linimo {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class LinkServerTest : public testing::Test {
 protected:
  /// As the control plane.
  UniqueFd connect() {
    UniqueFd fd = std::move(*connect_seqpacket(path_));
    const protocol::Hello hello{.abi_oldest = LINIMO_ABI_VERSION, .abi_newest = LINIMO_ABI_VERSION};
    EXPECT_TRUE(send_message(fd.get(), protocol::encode(hello)));
    EXPECT_TRUE(answer<protocol::Welcome>(fd));
    return fd;
  }

  /// What has come, or comes within that time.
  template <typename Answer>
  std::optional<Answer> answer(const UniqueFd& fd, milliseconds longest = seconds(10)) {
    const auto until = std::chrono::steady_clock::now() + longest;
    do {
      loop_.run_once(milliseconds(10));
      auto message = receive_message(fd.get(), protocol::kMaxMessageSize);
      if (!message || !*message) continue;
      if (auto found = protocol::decode<Answer>((*message)->bytes)) return *found;
    } while (std::chrono::steady_clock::now() < until);
    return std::nullopt;
  }

  protocol::Trace question(uint32_t number) {
    protocol::Trace trace;
    trace.number = number;
    trace.length = 64;
    return trace;
  }

  protocol::Capture capture() {
    protocol::Capture capture;
    capture.number = 5;
    capture.snap = capture.rate = 100;
    capture.steps = 1;
    capture.filter[0] = {.code = 0x06, .k = 100};  // RET: every packet
    return capture;
  }

  TemporaryFolder folder_;
  const std::filesystem::path path_ = folder_.path() / "dataplane.sock";
  EventLoop loop_;
  ValidatingEngine engine_;
  CountersMemory counters_{1};
  ConditionBoard board_;
  Reports reports_{board_};
  LinkServer server_{
      loop_, path_, engine_, {"xdp", "test", counters_.fd()}, reports_, [](const SnapshotView&) {}};
};

TEST_F(LinkServerTest, AnswersOtherQuestionsWhileATraceWaits) {
  engine_.ready = false;
  const UniqueFd asker = connect();
  ASSERT_TRUE(send_message(asker.get(), protocol::encode(question(7))));
  EXPECT_FALSE(answer<protocol::Traced>(asker, milliseconds(200)));
  ASSERT_TRUE(send_message(asker.get(), protocol::encode(protocol::FindFlows{})));
  EXPECT_TRUE(answer<protocol::FoundFlows>(asker));
  engine_.ready = true;
  const auto traced = answer<protocol::Traced>(asker);
  ASSERT_TRUE(traced);
  EXPECT_EQ(traced->number, 7U);
  EXPECT_EQ(protocol::text_of(traced->error), "");
}

TEST_F(LinkServerTest, AnswersACaptureOnceItHasBegun) {
  engine_.ready = false;
  const UniqueFd asker = connect();
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
  const UniqueFd into(ends[0]), ours(ends[1]);
  ASSERT_TRUE(send_message(asker.get(), protocol::encode(capture()), {&ends[0], 1}));
  EXPECT_FALSE(answer<protocol::Capturing>(asker, milliseconds(200)));
  engine_.ready = true;
  const auto begun = answer<protocol::Capturing>(asker);
  ASSERT_TRUE(begun);
  EXPECT_EQ(protocol::text_of(begun->error), "");
}

TEST_F(LinkServerTest, ForgetsWhoHasGoneMeanwhile) {
  engine_.ready = false;
  UniqueFd asker = connect();
  ASSERT_TRUE(send_message(asker.get(), protocol::encode(question(7))));
  EXPECT_FALSE(answer<protocol::Traced>(asker, milliseconds(100)));
  asker.reset();
  const UniqueFd other = connect();
  ASSERT_TRUE(send_message(other.get(), protocol::encode(question(8))));
  EXPECT_FALSE(answer<protocol::Traced>(other, milliseconds(100)));
  engine_.ready = true;
  const auto traced = answer<protocol::Traced>(other);
  ASSERT_TRUE(traced);
  EXPECT_EQ(traced->number, 8U);
}

TEST_F(LinkServerTest, KeepsAFewQuestionsOnly) {
  engine_.ready = false;
  const UniqueFd asker = connect();
  bool cut_off = false;
  for (uint32_t i = 0; i < 100 && !cut_off; ++i) {
    cut_off = !send_message(asker.get(), protocol::encode(question(i)));
    loop_.run_once(milliseconds(0));
  }
  EXPECT_TRUE(cut_off);
}

TEST(Messages, AreReadAndWrittenWithinTheirBounds) {
  char field[4] = {'x', 'x', 'x', 'x'};
  protocol::set_text(field, "ab");
  EXPECT_EQ(std::string_view(field, 4), std::string_view("ab\0\0", 4));
  protocol::set_text(field, "abcdef");
  EXPECT_EQ(std::string_view(field, 4), std::string_view("abc\0", 4));
  std::fill_n(field, 4, 'x');
  EXPECT_EQ(protocol::text_of(field), "xxxx") << "whoever sent it forgot the end";
  EXPECT_EQ(protocol::type_of(std::as_bytes(std::span(field, 3))), std::nullopt);
  protocol::FlowWords words;
  words.count = 2;
  EXPECT_EQ(words.view().size(), 2U);
  words.count = ~0U;
  EXPECT_EQ(words.view().size(), protocol::FlowWords::kMost);
}

// Its length is as what it keeps, and whoever sends it may be hostile.
TEST(CapturedMessage, IsOneOnlyIfItIsAsLongAsItSays) {
  linimo_captured sent{};
  sent.type = static_cast<uint32_t>(protocol::Type::kCaptured);
  sent.in_kept = 3;
  sent.out_kept = 2;
  std::memcpy(sent.bytes, "abcde", 5);
  const auto read = [&](size_t kept) {
    return protocol::decode_captured(protocol::encode(sent).first(protocol::kCapturedHead + kept));
  };
  const auto captured = read(5);
  ASSERT_TRUE(captured);
  EXPECT_EQ(std::string_view(reinterpret_cast<const char*>(captured->bytes), 5), "abcde");
  EXPECT_FALSE(read(4));
  EXPECT_FALSE(read(6));
  EXPECT_FALSE(protocol::decode_captured(protocol::encode(sent).first(protocol::kCapturedHead - 1)));
  EXPECT_FALSE(protocol::decode_captured({}));
  for (const auto& [in, out] : {std::pair(LINIMO_CAPTURE_SNAP + 1, 0U), {0U, LINIMO_CAPTURE_SNAP + 1}}) {
    sent.in_kept = static_cast<uint16_t>(in);
    sent.out_kept = static_cast<uint16_t>(out);
    EXPECT_FALSE(read(LINIMO_CAPTURE_SNAP + 1)) << "more than a frame has room for";
  }
  sent.in_kept = sent.out_kept = LINIMO_CAPTURE_SNAP;
  EXPECT_TRUE(read(2 * LINIMO_CAPTURE_SNAP));
  sent.type = static_cast<uint32_t>(protocol::Type::kTraced);
  EXPECT_FALSE(read(2 * LINIMO_CAPTURE_SNAP));
}

TEST(CountersView, ReadsNothingBehindWhatIsCounted) {
  const CountersMemory memory(2);
  memory.row(0).services[1].packets = 3;
  memory.row(1).services[1].packets = 4;
  memory.row(1).flows_capacity = 1000;
  memory.row(1).census_rounds = 9;
  memory.block().tunnel_error_backends = ~0U;
  const auto view = CountersView::map(memory.fd());
  ASSERT_TRUE(view);
  EXPECT_EQ(view->service(1).packets, 7U);
  EXPECT_EQ(view->census_rounds(), 9U) << "a worker without a table has none to go round in";
  for (const uint32_t id : {LINIMO_MAX_BACKEND_IDS, ~0U}) {
    EXPECT_EQ(view->service(id).packets, 0U);
    EXPECT_EQ(view->backend(id).packets, 0U);
    EXPECT_EQ(view->repeated_syns(id), 0U);
    EXPECT_EQ(view->flows_of_backend(id).all(), 0U);
    EXPECT_EQ(view->tunnel_errors(id), 0U);
  }
  EXPECT_EQ(view->tunnel_errors_by_backend().size(), std::size(memory.block().tunnel_errors_of));
  EXPECT_STREQ(outcome_name(LINIMO_OUTCOME_COUNT), "unknown");
  EXPECT_TRUE(view->shares_memory_with(*CountersView::map(memory.fd())));
  EXPECT_FALSE(view->shares_memory_with(*CountersView::map(CountersMemory(2).fd())));
}

TEST(CountersView, RefusesWhatSaysThatItIsSomethingElse) {
  const auto accepts = [](void (*change)(CountersBlock&)) {
    const CountersMemory memory(2);
    change(memory.block());
    return CountersView::map(memory.fd()).has_value();
  };
  EXPECT_TRUE(accepts([](CountersBlock&) {}));
  EXPECT_TRUE(accepts([](CountersBlock& block) { block.workers = 1; }));
  EXPECT_FALSE(accepts([](CountersBlock& block) { ++block.magic; }));
  EXPECT_FALSE(accepts([](CountersBlock& block) { ++block.abi_version; }));
  for (const auto change :
       {+[](CountersBlock& block) { block.workers = 0; }, +[](CountersBlock& block) { block.workers = 3; },
        +[](CountersBlock& block) { block.workers = ~0U; }})
    EXPECT_FALSE(accepts(change)) << "it has memory for two";
}

// Whoever could shrink the file could end its reader with a SIGBUS.
TEST(CountersView, RefusesAFileThatMayBecomeShorterAndWhatIsNone) {
  const auto file_of = [](size_t size, int seals) {
    UniqueFd fd(memfd_create("counters", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    const CountersMemory right(1);
    EXPECT_EQ(ftruncate(fd.get(), static_cast<off_t>(size)), 0);
    EXPECT_EQ(pwrite(fd.get(), &right.block(), sizeof(CountersBlock), 0), ssize_t{sizeof(CountersBlock)});
    EXPECT_EQ(fcntl(fd.get(), F_ADD_SEALS, seals), 0);
    return CountersView::map(fd.get());
  };
  EXPECT_TRUE(file_of(counters_size(1), F_SEAL_SHRINK));
  EXPECT_FALSE(file_of(counters_size(1), F_SEAL_GROW));
  EXPECT_FALSE(file_of(counters_size(1) - 1, F_SEAL_SHRINK));
  EXPECT_FALSE(CountersView::map(-1));
  EXPECT_FALSE(CountersView::map(UniqueFd(open("/dev/zero", O_RDONLY | O_CLOEXEC)).get()));
}

// As engine xdp counts.
TEST(CountersView, MapsABpfArrayThatIsLargeEnough) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to make BPF maps";
  const auto map_of = [](uint32_t type, uint32_t value_size, size_t size, bool fills,
                         uint32_t flags = BPF_F_MMAPABLE) {
    union bpf_attr attributes {};
    attributes.map_type = type;
    attributes.key_size = 4;
    attributes.value_size = value_size;
    attributes.max_entries = static_cast<uint32_t>((size + value_size - 1) / value_size);
    attributes.map_flags = flags;
    UniqueFd fd(static_cast<int>(syscall(SYS_bpf, BPF_MAP_CREATE, &attributes, sizeof attributes)));
    EXPECT_TRUE(fd) << strerror(errno);
    if (fills) {
      void* memory = mmap(nullptr, sizeof(CountersBlock), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
      EXPECT_NE(memory, MAP_FAILED);
      const CountersMemory right(1);
      std::memcpy(memory, &right.block(), sizeof(CountersBlock));
      munmap(memory, sizeof(CountersBlock));
    }
    return CountersView::map(fd.get());
  };
  const auto view = map_of(BPF_MAP_TYPE_ARRAY, 4096, counters_size(1), true);
  ASSERT_TRUE(view);
  EXPECT_EQ(view->workers(), 1U);
  EXPECT_FALSE(map_of(BPF_MAP_TYPE_ARRAY, 4096, counters_size(1), false)) << "nobody has counted in it";
  EXPECT_FALSE(map_of(BPF_MAP_TYPE_ARRAY, 4096, counters_size(1) - 4096, true)) << "it has too little room";
  EXPECT_FALSE(map_of(BPF_MAP_TYPE_ARRAY, 4100, counters_size(1), true)) << "its values have gaps";
  EXPECT_FALSE(map_of(BPF_MAP_TYPE_ARRAY, 4096, counters_size(1), false, 0)) << "it cannot be mapped";
  EXPECT_FALSE(map_of(BPF_MAP_TYPE_HASH, 4096, counters_size(1), false, BPF_F_NO_PREALLOC))
      << "its values lie anywhere";
}

}  // namespace
}  // namespace linimo
