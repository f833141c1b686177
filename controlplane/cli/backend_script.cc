#include "controlplane/cli/backend_script.h"

#include <map>
#include <utility>

#include <fmt/format.h>

namespace linimo {
namespace {

using nlohmann::json;

bool is_v4(const std::string& address) {
  return address.find(':') == std::string::npos;
}

/// The first VIP of each family that services have the pool serve.
std::map<bool, std::string> vips_of(const json& services, const std::string& pool) {
  std::map<bool, std::string> vips;
  for (const json& service : services) {
    if (service.at("pool") != pool) continue;
    for (const json& prefix : service.at("vips")) {
      const auto text = prefix.get<std::string>();
      const std::string vip = text.substr(0, text.find('/'));
      vips.emplace(is_v4(vip), vip);
    }
  }
  return vips;
}

}  // namespace

const char* tunnel_device(const std::string& encapsulation, const std::string& address) {
  const bool v4 = is_v4(address);
  if (encapsulation == "gre") return v4 ? "gre0" : "ip6gre0";
  return v4 ? "tunl0" : "ip6tnl0";
}

std::string backend_script(const std::string& vip, const std::string& encapsulation,
                           const std::string& address) {
  const char* device = tunnel_device(encapsulation, address);
  const bool v4 = is_v4(vip);
  return fmt::format(R"sh(#!/bin/sh
# Run as root on a backend: what keeps it from serving {0} through an {1} tunnel. Changes nothing.
bad() {{ echo "$1"; echo "  mend: $2"; wrong=1; }}
wrong=0
# linimo-decap takes tunnels off without a device.
decap() {{ ip link show 2>/dev/null | grep -q prog/xdp; }}
{3}
ip link show dev {2} 2>/dev/null | grep -q UP || decap || bad "{2} is not there, or not up" "{4}; ip link set {2} up"
ip {5} route get {0} | grep -q '^local' || bad "{0} is not an address of this machine" "ip addr add {0}/{6} dev lo"
# The larger of the two counts: 0 is off, 1 strict, 2 loose.
strictest=0
for name in all {2}; do
  value=$(sysctl -n net.ipv4.conf.$name.rp_filter 2>/dev/null || echo 0)
  [ "$value" -gt $strictest ] && strictest=$value
done
[ $strictest = 1 ] && bad "the reverse-path filter of {2} is strict" "sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.{2}.rp_filter=0"
for name in all; do
  [ "$(sysctl -n net.ipv4.conf.$name.arp_ignore)" -ge 1 ] 2>/dev/null ||
    echo "note: on a LAN shared with clients set net.ipv4.conf.all.arp_ignore=1 and arp_announce=2"
done
ip {5} route get {7} from {0} >/dev/null 2>&1 || bad "there is no way back to clients" "ip {5} route add default via GATEWAY"
count() {{ awk -v name="$2" '$1 == "'"$3"':" && !at {{ for (i = 2; i <= NF; i++) if ($i == name) at = i; next }}
                           $1 == "'"$3"':" {{ print $at; exit }}' "$1"; }}
sums=$(count /proc/net/snmp InCsumErrors Tcp) paths=$(count /proc/net/netstat IPReversePathFilter TcpExt)
sleep 2
grown=$(($(count /proc/net/snmp InCsumErrors Tcp) - ${{sums:-0}}))
[ $grown -gt 0 ] && bad "$grown TCP segments with a wrong checksum within 2 s" "at the client, or the machine that it runs on: ethtool -K DEV tx off"
grown=$(($(count /proc/net/netstat IPReversePathFilter TcpExt) - ${{paths:-0}}))
[ $grown -gt 0 ] && bad "the reverse-path filter dropped $grown packets within 2 s" "sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.{2}.rp_filter=0"
# A table with a chain that takes what comes in, and drops some of it for what it is, but lets no such tunnel pass. Most
# machines have one that is in order: it is suspected where there is nothing else.
closed=$(nft list ruleset 2>/dev/null | awk '
  $1 == "table" {{ table = $2 ~ /^(inet|{10})$/ ? $2 " " $3 : ""; chain = first = ""; drops = passes = 0 }}
  $1 == "chain" {{ chain = $2 }}
  /hook input/ && first == "" {{ first = chain }}
  /(^|[ \t])(drop|reject)([ ;]|$)/ && !/dport|ct state/ {{ drops = 1 }}
  / accept/ && /{8}/ {{ passes = 1 }}
  $0 == "}}" {{ if (table != "" && first != "" && drops && !passes) {{ print table, first; exit }} }}')
[ $wrong = 0 ] && [ -n "$closed" ] &&
  bad "a firewall drops packets here, and lets no {1} tunnel pass: nft list chain $closed" "nft insert rule $closed {9} accept"
if command -v conntrack >/dev/null; then
  conntrack -S 2>/dev/null | grep -Eo 'invalid=[1-9][0-9]*' | head -1 | grep -q . &&
    bad "connection tracking has found packets invalid" "nft add rule ... notrack, for the VIP"
fi
[ $wrong = 0 ] && echo "nothing found"
exit $wrong
)sh",
                     vip, encapsulation, device,
                     encapsulation == "gue"
                         ? "ip fou show 2>/dev/null | grep -q 'gue' || decap || bad \"no GUE port "
                           "is open\" \"modprobe fou; ip fou add port 6080 gue\""
                         : "# no port to open for this kind of tunnel",
                     encapsulation == "gre" ? "modprobe ip_gre" : "modprobe ipip", v4 ? "-4" : "-6",
                     v4 ? 32 : 128, v4 ? "198.51.100.1" : "2001:db8::1",
                     encapsulation == "gue"   ? "dport [{ ]*6080[ ,]"
                     : encapsulation == "gre" ? "(l4proto|protocol) [{ ]*([a-z0-9-]+, )*(gre|47)[ ,]"
                                              : "(l4proto|protocol) [{ ]*([a-z0-9-]+, )*(ipencap|ipv4|4)[ ,]",
                     encapsulation == "gue"   ? "udp dport 6080"
                     : encapsulation == "gre" ? "meta l4proto gre"
                                              : "meta l4proto '{ 4, 41 }'",
                     is_v4(address) ? "ip" : "ip6");
}

std::string script_for_backends(const json& services, const json& pools, const json& backends) {
  std::map<std::pair<std::string, bool>, std::string> addresses;  // by pool, and whether they are IPv4
  for (const json& backend : backends) {
    const auto address = backend.at("address").get<std::string>();
    addresses[{backend.at("pool").get<std::string>(), is_v4(address)}] += ' ' + address;
  }
  std::string sections;
  for (const json& pool : pools) {
    const auto name = pool.at("name").get<std::string>();
    const auto vips = vips_of(services, name);
    for (const bool v4 : {true, false}) {  // that the backends are, and so the tunnel
      const auto its = addresses.find({name, v4});
      if (its == addresses.end()) continue;
      for (const auto& [_, vip] : vips)
        sections += fmt::format(
            "if has_any_of{}; then known=1; (\n{}) || wrong=1; fi\n", its->second,
            backend_script(vip, pool.at("encapsulation").get<std::string>(), v4 ? "0.0.0.0" : "::"));
    }
  }
  if (sections.empty()) return {};
  return "#!/bin/sh\n"
         "# Run as root on a backend. Changes nothing.\n"
         "wrong=0 known=0\n"
         "own=\" $(ip -o addr show | awk '{ sub(\"/.*\", \"\", $4); printf \"%s \", $4 }')\"\n"
         "has_any_of() { for address; do case $own in *\" $address \"*) return 0 ;; esac; done; return 1; "
         "}\n" +
         sections +
         "[ $known = 1 ] || { echo \"this machine has the address of no backend\"; exit 1; }\n"
         "exit $wrong\n";
}

}  // namespace linimo
