#include "controlplane/api/capture_feed.h"

#include <utility>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "controlplane/trace/capture_view.h"
#include "maglev/os/seqpacket.h"
#include "maglev/protocol.h"

namespace linimo {
namespace {

using nlohmann::json;

constexpr size_t kMostPackets = 64;  // of a piece

std::string event(const char* type, const json& data) {
  return fmt::format("{}data: {}\n\n", type, data.dump(-1, ' ', false, json::error_handler_t::replace));
}

class CaptureFeed final : public HttpStream, public std::enable_shared_from_this<CaptureFeed> {
 public:
  CaptureFeed(boost::asio::io_context& serving, UniqueFd from, std::vector<std::string> interfaces,
              NameIds name_ids)
      : from_(serving, from.release()), interfaces_(std::move(interfaces)), name_ids_(std::move(name_ids)) {}

  void next(Give give) override {
    give_ = std::move(give);
    if (!std::exchange(begun_, true)) return send(event("event: tally\n", {{"missed", 0}}), false);
    wait();
  }

 private:
  void wait() {
    from_.async_wait(boost::asio::posix::descriptor_base::wait_read,
                     [weak = weak_from_this()](const boost::system::error_code& error) {
                       if (const auto self = weak.lock(); self && !error) self->read();
                     });
  }

  void read() {
    bool new_names = false, gone = false;
    packets_.clear();
    text_.clear();
    for (size_t i = 0; i < kMostPackets; ++i) {
      const auto message = receive_message(from_.native_handle(), sizeof(linimo_captured));
      gone = !message;
      if (!message || !*message) break;
      if (const auto ended = protocol::decode<protocol::Capturing>((*message)->bytes))
        why_ = protocol::text_of(ended->error);
      const auto captured = protocol::decode_captured((*message)->bytes);
      if (!captured) continue;
      const uint64_t missed = std::exchange(missed_, captured->missed);
      if (captured->in_length == 0 || missed != missed_)
        text_ += event("event: tally\n", {{"missed", missed_}});
      if (captured->in_length == 0) continue;
      packets_.push_back(*captured);
      if (captured->backend == LINIMO_CAPTURE_NONE) continue;
      new_names |= names_.add_service(captured->service);
      new_names |= names_.add_backend(captured->backend);
    }
    if (gone && packets_.empty()) return send(event("event: end\n", {{"reason", why_}}), true);
    if (!new_names) return send_packets();
    name_ids_(names_, [weak = weak_from_this()](IdNames names) {
      const auto self = weak.lock();
      if (!self) return;
      self->names_ = std::move(names);
      self->send_packets();
    });
  }

  void send_packets() {
    for (const linimo_captured& packet : packets_)
      text_ += event("", captured_view(packet, interfaces_, names_));
    if (text_.empty()) return wait();
    send(std::exchange(text_, {}), false);
  }

  void send(std::string text, bool last) {
    std::exchange(give_, nullptr)({std::make_shared<const std::string>(std::move(text)), last});
  }

  boost::asio::posix::stream_descriptor from_;
  std::vector<std::string> interfaces_;
  NameIds name_ids_;
  IdNames names_;
  std::vector<linimo_captured> packets_;  // of the next piece
  std::string text_;
  uint64_t missed_ = 0;
  std::string why_ = "the data plane has gone";  // should it end
  bool begun_ = false;
  Give give_;
};

}  // namespace

std::shared_ptr<HttpStream> make_capture_feed(boost::asio::io_context& serving, UniqueFd from,
                                              std::vector<std::string> interfaces, NameIds name_ids) {
  return std::make_shared<CaptureFeed>(serving, std::move(from), std::move(interfaces), std::move(name_ids));
}

}  // namespace linimo
