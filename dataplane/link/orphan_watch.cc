#include "dataplane/link/orphan_watch.h"

#include <spdlog/spdlog.h>

#include "dataplane/netlink/netlink.h"
#include "maglev/config/announce.h"
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

void OrphanWatch::look() {
  // Between two looks a control plane may have come and gone: that is another absence.
  const auto since = gone_since_();
  if (since != absence_) withdrawn_ = false;
  absence_ = since;
  if (!since || withdrawn_) return;
  const Announcements announced = announced_();
  if (announced.table == 0 || announced.orphan_timeout.count() == 0) return;
  if (Clock::now() < *since + announced.orphan_timeout) return;
  withdrawn_ = true;
  const size_t routes = remove_announcements(announced.table);
  spdlog::warn("no control plane for {}: {} announced VIPs withdrawn",
               duration_text(announced.orphan_timeout), routes);
}

}  // namespace linimo
