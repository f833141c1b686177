#include "controlplane/http/wire.h"

#include <utility>

#include <boost/asio/write.hpp>

namespace linimo {
namespace {

using boost::system::error_code;

class PlainWire : public Wire {
 public:
  explicit PlainWire(HttpSocket socket) : socket_(std::move(socket)) {}

  void open(Done done) override { done({}, 0); }
  void read(boost::asio::mutable_buffer into, Done done) override {
    socket_.async_read_some(into, std::move(done));
  }
  void write(const Buffers& all, Done done) override {
    boost::asio::async_write(socket_, all, std::move(done));
  }
  void end_sending(Done done) override {
    error_code ignored;
    socket_.shutdown(HttpSocket::shutdown_send, ignored);
    done({}, 0);
  }
  void close() override {
    error_code ignored;
    socket_.close(ignored);
  }

 private:
  HttpSocket socket_;
};

}  // namespace

std::unique_ptr<Wire> plain_wire(HttpSocket socket) {
  return std::make_unique<PlainWire>(std::move(socket));
}

}  // namespace linimo
