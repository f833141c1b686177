#include "controlplane/store/store.h"

namespace linimo {

StoreRange with_prefix(const std::string& prefix) {
  std::string end = prefix;
  while (!end.empty() && static_cast<uint8_t>(end.back()) == 0xff) end.pop_back();
  if (end.empty())
    end = std::string(1, '\0');
  else
    ++end.back();
  return {prefix.empty() ? std::string(1, '\0') : prefix, end};
}

}  // namespace linimo
