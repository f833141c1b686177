#include "controlplane/http/tls.h"

#include <ctime>
#include <utility>

#include <boost/asio/ssl.hpp>
#include <boost/asio/write.hpp>
#include <openssl/ssl.h>
#include <openssl/x509.h>

namespace linimo {
namespace {

namespace ssl = boost::asio::ssl;
using boost::system::error_code;

/// The subject's common name, if it can be shown: printable, and one.
std::string common_name(const X509* certificate) {
  const X509_NAME* subject = X509_get_subject_name(certificate);
  const int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  if (at < 0 || X509_NAME_get_index_by_NID(subject, NID_commonName, at) >= 0) return {};
  unsigned char* text = nullptr;
  const int length = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
  if (length < 0) return {};
  std::string name(reinterpret_cast<const char*>(text), static_cast<size_t>(length));
  OPENSSL_free(text);
  for (const char c : name) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return {};
  }
  return name;
}

class TlsWire : public Wire {
 public:
  TlsWire(HttpSocket socket, std::shared_ptr<ssl::context> context)
      : context_(std::move(context)), stream_(std::move(socket), *context_) {}

  void open(Done done) override {
    stream_.async_handshake(ssl::stream_base::server,
                            [done = std::move(done)](const error_code& error) { done(error, 0); });
  }
  void read(boost::asio::mutable_buffer into, Done done) override {
    if (ended_)
      stream_.next_layer().async_read_some(into, std::move(done));
    else
      stream_.async_read_some(into, std::move(done));
  }
  void write(const Buffers& all, Done done) override {
    boost::asio::async_write(stream_, all, std::move(done));
  }
  /// What the peer still sends is read and thrown away as it is: to OpenSSL, data behind our end is an error,
  /// and a connection that is closed with data unread is reset, maybe before the peer has read the answer.
  void end_sending(Done done) override {
    ended_ = true;
    SSL_set_shutdown(stream_.native_handle(), SSL_RECEIVED_SHUTDOWN);
    stream_.async_shutdown([done = std::move(done)](const error_code& error) { done(error, 0); });
  }
  void close() override {
    error_code ignored;
    stream_.lowest_layer().close(ignored);
  }
  std::string client() override {
    const X509* certificate = SSL_get0_peer_certificate(stream_.native_handle());
    return certificate == nullptr ? std::string() : common_name(certificate);
  }

 private:
  std::shared_ptr<ssl::context> context_;  // a renewed identity does not end what is open
  ssl::stream<HttpSocket> stream_;
  bool ended_ = false;
};

}  // namespace

tl::expected<TlsIdentity, std::string> TlsIdentity::load(const Files& files) {
  const auto context = std::make_shared<ssl::context>(ssl::context::tls_server);
  SSL_CTX* const raw = context->native_handle();
  SSL_CTX_set_min_proto_version(raw, TLS1_2_VERSION);
  // A session that is taken up again would outlive the certificate's authority.
  SSL_CTX_set_options(raw, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET);
  SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_OFF);
  error_code error;
  const auto unless = [&error](const std::filesystem::path& file) {
    return tl::unexpected(file.string() + ": " + error.message());
  };
  // A key with a passphrase would else be asked for at a terminal.
  context->set_password_callback([](size_t, auto) { return std::string(); }, error);
  context->use_certificate_chain_file(files.cert.string(), error);
  if (error) return unless(files.cert);
  context->use_private_key_file(files.key.string(), ssl::context::pem, error);
  if (error) return unless(files.key);
  if (SSL_CTX_check_private_key(raw) != 1)
    return tl::unexpected(files.key.string() + ": not the key of " + files.cert.string());
  context->load_verify_file(files.client_ca.string(), error);
  if (error) return unless(files.client_ca);
  SSL_CTX_set_client_CA_list(raw, SSL_load_client_CA_file(files.client_ca.c_str()));
  context->set_verify_mode(ssl::verify_peer | ssl::verify_fail_if_no_peer_cert, error);
  if (error) return unless(files.client_ca);
  return TlsIdentity(context);
}

// In seconds: a certificate without an end (RFC 5280, 4.1.2.5) names the year 9999, which no clock in
// nanoseconds reaches.
TlsIdentity::Validity TlsIdentity::validity() const {
  const X509* const certificate = SSL_CTX_get0_certificate(context_->native_handle());
  const auto at = [](const ASN1_TIME* time) {
    std::tm parts{};
    const bool known = ASN1_TIME_to_tm(time, &parts) == 1;
    return std::chrono::sys_seconds(std::chrono::seconds(known ? timegm(&parts) : 0));
  };
  return {at(X509_get0_notBefore(certificate)), at(X509_get0_notAfter(certificate))};
}

std::unique_ptr<Wire> TlsIdentity::wire(HttpSocket socket) const {
  return std::make_unique<TlsWire>(std::move(socket), context_);
}

}  // namespace linimo
