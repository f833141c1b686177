// The files that the control plane serves as they are: the status page and the API's description. They are
// part of the program (embed.py).
#pragma once

#include <memory>
#include <span>
#include <string>

namespace linimo {

struct Asset {
  const char* path;  // of the request
  const char* content_type;
  std::shared_ptr<const std::string> content;
};

/// Any thread.
std::span<const Asset> assets();

}  // namespace linimo
