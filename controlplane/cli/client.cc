#include "controlplane/cli/client.h"

#include <cerrno>
#include <cstring>
#include <iostream>
#include <memory>

#include <curl/curl.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "maglev/program.h"

namespace linimo {
namespace {

size_t append(char* data, size_t size, size_t count, void* body) {
  static_cast<std::string*>(body)->append(data, size * count);
  return size * count;
}

std::string connect_failure(const std::string& socket, long error) {
  switch (error) {
    case ENOENT:
    case ECONNREFUSED:
      return fmt::format(
          "no control plane listens on {}; is linimo-controlplane running? (--socket PATH or "
          "LINIMO_SOCKET names another socket)",
          socket);
    case EACCES:
    case EPERM:
      return fmt::format(
          "no permission to open {}: its folder is shut off; try again as root, or as a member of its group",
          socket);
    default:
      return fmt::format("cannot connect to {}: {}", socket,
                         error != 0 ? std::strerror(static_cast<int>(error)) : "unknown error");
  }
}

using Easy = std::unique_ptr<CURL, decltype(&curl_easy_cleanup)>;

Easy request_to(const std::string& socket, const std::string& path) {
  Easy easy(curl_easy_init(), &curl_easy_cleanup);
  const std::string url = "http://linimo" + path;
  if (curl_easy_setopt(easy.get(), CURLOPT_UNIX_SOCKET_PATH, socket.c_str()) != CURLE_OK)
    return {nullptr, &curl_easy_cleanup};
  curl_easy_setopt(easy.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(easy.get(), CURLOPT_PROXY, "");
  curl_easy_setopt(easy.get(), CURLOPT_NOSIGNAL, 1L);
  return easy;
}

std::string no_path(const std::string& socket) {
  return fmt::format("{} cannot be a socket's path", socket);
}

tl::unexpected<std::string> failure(CURL* easy, CURLcode result, const std::string& socket) {
  if (result == CURLE_COULDNT_CONNECT) {
    long error = 0;
    curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &error);
    return tl::unexpected(connect_failure(socket, error));
  }
  return tl::unexpected(
      fmt::format("the control plane on {} does not answer: {}", socket, curl_easy_strerror(result)));
}

struct Stream {
  CURL* easy;
  const TakeBytes& take;
  std::string refusal;
  bool enough = false;
};

size_t pass_on(char* data, size_t size, size_t count, void* stream_at) {
  auto& stream = *static_cast<Stream*>(stream_at);
  long status = 0;
  curl_easy_getinfo(stream.easy, CURLINFO_RESPONSE_CODE, &status);
  const std::string_view bytes(data, size * count);
  if (status != 200) {
    stream.refusal += bytes;
    return stream.refusal.size() > (64 << 10) ? 0 : bytes.size();
  }
  stream.enough = !stream.take(bytes);
  return stream.enough ? 0 : bytes.size();
}

/// As curl_easy_perform(), which would not look up while nothing comes.
CURLcode perform_until_enough(Stream& stream) {
  constexpr int kLongestMs = 100;
  const std::unique_ptr<CURLM, decltype(&curl_multi_cleanup)> multi(curl_multi_init(), &curl_multi_cleanup);
  if (!multi || curl_multi_add_handle(multi.get(), stream.easy) != CURLM_OK) return CURLE_OUT_OF_MEMORY;
  CURLcode result = CURLE_OK;
  for (int running = 1; running != 0 && !stream.enough;) {
    int left = 0;
    curl_multi_perform(multi.get(), &running);
    if (const CURLMsg* done = curl_multi_info_read(multi.get(), &left)) result = done->data.result;
    stream.enough |= !stream.take({});
    if (running != 0 && !stream.enough) curl_multi_poll(multi.get(), nullptr, 0, kLongestMs, nullptr);
  }
  curl_multi_remove_handle(multi.get(), stream.easy);
  return result;
}

}  // namespace

tl::expected<Reply, std::string> ask(const std::string& socket, const std::string& method,
                                     const std::string& path, const std::string& body) {
  const Easy easy = request_to(socket, path);
  if (!easy) return tl::unexpected(no_path(socket));
  Reply reply;
  curl_easy_setopt(easy.get(), CURLOPT_CUSTOMREQUEST, method.c_str());
  if (!body.empty()) {
    curl_easy_setopt(easy.get(), CURLOPT_POSTFIELDSIZE, static_cast<long>(body.size()));
    curl_easy_setopt(easy.get(), CURLOPT_POSTFIELDS, body.c_str());
  }
  curl_easy_setopt(easy.get(), CURLOPT_TIMEOUT_MS, 10'000L);
  curl_easy_setopt(easy.get(), CURLOPT_WRITEFUNCTION, append);
  curl_easy_setopt(easy.get(), CURLOPT_WRITEDATA, &reply.body);
  if (const CURLcode result = curl_easy_perform(easy.get()); result != CURLE_OK)
    return failure(easy.get(), result, socket);
  curl_easy_getinfo(easy.get(), CURLINFO_RESPONSE_CODE, &reply.status);
  return reply;
}

tl::expected<Reply, std::string> follow(const std::string& socket, const std::string& method,
                                        const std::string& path, const std::string& last_id,
                                        const TakeBytes& take) {
  const Easy easy = request_to(socket, path);
  if (!easy) return tl::unexpected(no_path(socket));
  const std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> headers(
      last_id.empty() ? nullptr : curl_slist_append(nullptr, ("Last-Event-ID: " + last_id).c_str()),
      &curl_slist_free_all);
  Stream stream{.easy = easy.get(), .take = take, .refusal = {}};
  curl_easy_setopt(easy.get(), CURLOPT_CUSTOMREQUEST, method.c_str());
  curl_easy_setopt(easy.get(), CURLOPT_HTTPHEADER, headers.get());
  // A control plane that is well says something every 5 s.
  curl_easy_setopt(easy.get(), CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(easy.get(), CURLOPT_LOW_SPEED_TIME, 20L);
  curl_easy_setopt(easy.get(), CURLOPT_WRITEFUNCTION, pass_on);
  curl_easy_setopt(easy.get(), CURLOPT_WRITEDATA, &stream);
  const CURLcode result = perform_until_enough(stream);
  if (result != CURLE_OK && !stream.enough) return failure(easy.get(), result, socket);
  Reply reply{.status = 0, .body = std::move(stream.refusal)};
  curl_easy_getinfo(easy.get(), CURLINFO_RESPONSE_CODE, &reply.status);
  return reply;
}

tl::expected<nlohmann::json, std::string> ask_json(const std::string& socket, const std::string& method,
                                                   const std::string& path, const std::string& body) {
  using nlohmann::json;
  const auto reply = ask(socket, method, path, body);
  if (!reply) return tl::unexpected(reply.error());
  json content = json::parse(reply->body, nullptr, false);
  if (content.is_discarded())
    return tl::unexpected(fmt::format("{} answers, but not as a control plane", socket));
  if (reply->status == 200) return content;
  return tl::unexpected(content.is_object() && content.contains("error") && content["error"].is_string()
                            ? content["error"].get<std::string>()
                            : fmt::format("the control plane answers with status {}", reply->status));
}

int fail(std::string_view message) {
  std::cerr << "linimo: " << message << '\n';
  return kFailed;
}

}  // namespace linimo
