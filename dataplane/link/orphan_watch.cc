#include "dataplane/link/orphan_watch.h"

#include <spdlog/spdlog.h>

#include "dataplane/netlink/netlink.h"
#include "maglev/config/duration.h"

namespace linimo {
namespace {

uint32_t table_of(const nlmsghdr& message) {
  uint32_t table = static_cast<const rtmsg*>(mnl_nlmsg_get_payload(&message))->rtm_table;
  for_each_attribute(message, sizeof(rtmsg), [&](const nlattr* attribute) {
    if (mnl_attr_get_type(attribute) == RTA_TABLE) table = mnl_attr_get_u32(attribute);
  });
  return table;
}

}  // namespace

size_t remove_announcements(uint32_t table) {
  Netlink netlink;
  std::vector<NetlinkMessage> ours;
  for (const uint8_t family : {AF_INET, AF_INET6}) {
    netlink.dump(RTM_GETROUTE, family, sizeof(rtmsg), [&](const nlmsghdr& message) {
      const auto* fixed = static_cast<const rtmsg*>(mnl_nlmsg_get_payload(&message));
      if (fixed->rtm_protocol != kAnnounceProtocol || table_of(message) != table) return;
      const auto* bytes = reinterpret_cast<const uint8_t*>(&message);
      ours.emplace_back(bytes, bytes + message.nlmsg_len);
    });
  }
  size_t removed = 0;
  for (NetlinkMessage& message : ours) {
    auto* header = reinterpret_cast<nlmsghdr*>(message.data());
    header->nlmsg_type = RTM_DELROUTE;
    header->nlmsg_flags = 0;
    removed += netlink.request(message) == 0 ? 1 : 0;
  }
  return removed;
}

OrphanWatch::OrphanWatch(std::filesystem::path config_file, GoneSince gone_since)
    : config_file_(std::move(config_file)), gone_since_(std::move(gone_since)) {}

/// The file is read when it begins to matter: what the control plane took over last counts.
void OrphanWatch::begin_absence() {
  withdrawn_ = false;
  auto config = load_announce_config(config_file_);
  if (config)
    config_ = config->value_or(AnnounceConfig{});
  else
    spdlog::warn("orphan_timeout stays {}: {}", duration_text(config_.orphan_timeout), config.error());
}

void OrphanWatch::look() {
  // Between two looks a control plane may have come and gone: that is another absence.
  const auto since = gone_since_();
  const bool begins = since && since != absence_;
  absence_ = since;
  if (!since) return;
  if (begins) begin_absence();
  if (withdrawn_ || config_.orphan_timeout.count() == 0) return;
  if (Clock::now() < *since + config_.orphan_timeout) return;
  withdrawn_ = true;
  const size_t routes = remove_announcements(config_.table);
  spdlog::warn("no control plane for {}: {} announced VIPs withdrawn", duration_text(config_.orphan_timeout),
               routes);
}

}  // namespace linimo
