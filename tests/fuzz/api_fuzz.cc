// What the API answers to a request that HTTP has let through: each path with any query and any body, and
// what no path is. Each is answered once, by JSON where it says so, and a server that has answered everything
// has no more memory in use than at the beginning.
//
// An input is a request: a byte for method and path, one for how many parts the query has, then parts of
// either, each a byte that chooses something that is right or so many bytes as follow.

#include <array>
#include <cstdlib>
#include <string_view>

#include <fuzzer/FuzzedDataProvider.h>
#include <nlohmann/json.hpp>
#include <sanitizer/allocator_interface.h>

#include "controlplane/api/routes.h"
#include "controlplane/log.h"
#include "tests/unit/fake_prober.h"
#include "tests/unit/small_config.h"
#include "tests/unit/temporary_folder.h"

using namespace linimo;

namespace {

constexpr std::array<std::string_view, 30> kQuery = {"protocol=tcp",
                                                     "protocol=icmp",
                                                     "from=198.51.100.7:4242",
                                                     "from=[2001:db8::7]:1",
                                                     "to=203.0.113.1:80",
                                                     "to=203.0.113.",
                                                     "flags=SAFRPU",
                                                     "size=1500",
                                                     "size=-1",
                                                     "quic_id=00ff",
                                                     "interface=lo",
                                                     "frame=00",
                                                     "service=s",
                                                     "service=%00",
                                                     "backend=web/10.0.1.1",
                                                     "backend=web/",
                                                     "all=1",
                                                     "client=198.51.100.7",
                                                     "limit=0",
                                                     "limit=1000",
                                                     "limit=99999999999999999999",
                                                     "after=web/10.0.1.1",
                                                     "after=18446744073709551615",
                                                     "past=5",
                                                     "number=1",
                                                     "filter=0006000000040000",
                                                     "filter=0",
                                                     "snap=64",
                                                     "rate=1",
                                                     "rate=18446744073709551616"};
constexpr std::array<std::string_view, 12> kBody = {
    R"({"pool": "web", "backend": "10.0.1.1"})",
    R"({"pool": "web", "backend": "10.0.1.2", "drain": true})",
    R"({"pool": "web", "backend": "10.0.1.2", "drain": )",
    R"({"pool": 7, "backend": []})",
    R"({"config": ")",
    R"([node]\nname = \"lb1\"\ninterfaces = [\"lo\"]\n)",
    R"([[pool]]\nname = \"web\"\nbackends = [\"10.0.1.1\"]\n)",
    R"([[service]]\nname = \"s\"\nvips = [\"203.0.113.1\"]\nprotocol = \"tcp\"\nports = [80]\npool = \"web\"\n)",
    R"("})",
    R"({"text": "", "file": "f", "base": 1})",
    R"({"number": 1})",
    "\xff\xfe"};

[[noreturn]] void fail(std::string_view why, const HttpRequest& request) {
  fprintf(stderr, "%.*s: %s %s?%s\n", static_cast<int>(why.size()), why.data(), request.method.c_str(),
          request.path.c_str(), request.query.c_str());
  abort();
}

class World {
 public:
  World() { set_log_level("off"); }

  void ask(FuzzedDataProvider input) {
    HttpRequest request;
    static const auto paths = Api::paths();
    const auto which = input.ConsumeIntegral<uint8_t>();
    if (which < 4 * paths.size()) {
      std::tie(request.path, request.method) = paths[which / 4];
      if (which % 4 == 3) request.method = request.method == "GET" ? "POST" : "GET";
    } else {
      request.method = "GET";
      request.path = "/" + input.ConsumeRandomLengthString(40);
    }
    for (auto parts = input.ConsumeIntegralInRange<uint8_t>(0, 6); parts > 0; --parts)
      request.query += (request.query.empty() ? "" : "&") + part(input, kQuery);
    while (input.remaining_bytes() > 0) request.body += part(input, kBody);
    request.by = "fuzzer";

    int answers = 0;
    HttpResponse answer(0, "");
    api_.answer(request, [&](HttpResponse response) {
      answer = std::move(response);
      ++answers;
    });
    for (int round = 0; round < 1000 && answers == 0; ++round) io_.poll();
    if (answers != 1) fail("not answered once", request);
    if (answer.status < 200 || answer.status > 599) fail("no status of HTTP", request);
    if (std::string_view(answer.content_type) == "application/json" && !nlohmann::json::accept(*answer.body))
      fail("no JSON", request);
    if (answer.stream) {
      answer.stream->next([](HttpStream::Piece) {});
      io_.poll();
    }
    if (answer.status >= 500 && answer.status != 503) fail("a fault of the server's", request);
  }

  /// After enough requests for all that is made once.
  void expect_no_growth() {
    constexpr size_t kWarm = 3000, kMore = 32 << 20;
    if (++inputs_ == kWarm) warm_ = __sanitizer_get_current_allocated_bytes();
    if (inputs_ > kWarm && inputs_ % kWarm == 0 &&
        __sanitizer_get_current_allocated_bytes() > warm_ + kMore) {
      fprintf(stderr, "%zu bytes in use after %zu requests, %zu before\n",
              __sanitizer_get_current_allocated_bytes(), inputs_, warm_);
      abort();
    }
  }

 private:
  template <size_t N>
  static std::string part(FuzzedDataProvider& input, const std::array<std::string_view, N>& right) {
    const auto choice = input.ConsumeIntegral<uint8_t>();
    if (choice < 4 * N) return std::string(right[choice / 4]);
    return input.ConsumeRandomLengthString(64);
  }

  TemporaryFolder folder_;
  boost::asio::io_context io_;
  FakeProber prober_{io_};
  Controller controller_{io_, small_config(folder_.path()), prober_};
  Api api_{io_, io_, controller_};
  size_t inputs_ = 0, warm_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static World world;
  world.ask({data, size});
  world.expect_no_growth();
  return 0;
}
