#include "controlplane/cli/top.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "controlplane/cli/text_table.h"

namespace linimo {
namespace {

using nlohmann::json;

constexpr const char* kSortNames[kTopSorts] = {"packets", "bits", "new flows", "name"};
// What is no drop: where packets go that all is well with.
constexpr std::string_view kFine[] = {"forwarded",     "kernel",       "kernel_control",
                                      "from_kernel",   "echo_reply",   "icmp_error",
                                      "too_big_reply", "reject_reply", "fragment_passed"};
constexpr size_t kFewestRows = 3;

/// Rates of one thing that is counted.
struct Rates {
  std::string name;
  std::vector<std::string> cells;  // between its name and its rates
  std::optional<double> packets, bits, new_flows;
};

class Screen {
 public:
  Screen(const TopSample& before, const TopSample& now, const TopLayout& layout)
      : before_(before),
        now_(now),
        layout_(layout),
        seconds_(std::max(std::chrono::duration<double>(now.at - before.at).count(), 1e-3)) {}

  std::string render() {
    head();
    traffic();
    workers();
    drops();
    health();
    line("");
    auto services = rates_of("services", {"name"},
                             [](const json& service) { return std::vector{text_of(service.at("pool"))}; });
    auto backends = rates_of("backends", {"pool", "address"}, [](const json& backend) {
      return std::vector{text_of(backend.at("state")),
                         fmt::format("{:.1f} %", 100 * backend.at("share").get<double>()),
                         grouped(backend.at("flows").get<uint64_t>())};
    });
    const auto [service_rows, backend_rows] = rows_for(services.size(), backends.size());
    table({"SERVICE", "POOL"}, std::move(services), service_rows);
    line("");
    table({"BACKEND", "STATE", ">SHARE", ">FLOWS"}, std::move(backends), backend_rows);
    return text_;
  }

 private:
  void line(std::string_view content) {
    if (layout_.lines != 0 && lines_ == layout_.lines) return;
    ++lines_;
    std::string plain(content.substr(0, layout_.columns));
    std::ranges::replace_if(
        plain, [](unsigned char c) { return std::iscntrl(c) != 0; }, '?');
    text_ += plain + '\n';
  }

  std::optional<double> rate(const json& was, const json& is) const {
    const auto a = was.get<uint64_t>(), b = is.get<uint64_t>();
    return b < a || now_.at == before_.at ? std::nullopt
                                          : std::optional(static_cast<double>(b - a) / seconds_);
  }
  std::optional<double> rate_of_outcome(const std::string& name) const {
    return rate(before_.status.at("outcomes").value(name, json(0)), now_.status.at("outcomes").at(name));
  }

  void head() {
    const json& status = now_.status;
    const bool connected = status.at("dataplane").at("connected").get<bool>();
    const std::string left =
        fmt::format("{}  {}  generation {}{}", text_of(status.at("node")), text_of(status.at("engine")),
                    text_of(status.at("generation")),
                    !connected                            ? "  NO DATA PLANE"
                    : status.at("up_to_date").get<bool>() ? ""
                                                          : "  (newer tables are on their way)");
    const size_t gap = layout_.columns > left.size() + layout_.hint.size()
                           ? layout_.columns - left.size() - layout_.hint.size()
                           : 2;
    line(layout_.hint.empty() ? left : left + std::string(gap, ' ') + layout_.hint);
  }

  void traffic() {
    double bits = 0, new_flows = 0;
    for (const Rates& service :
         rates_of("services", {"name"}, [](const json&) { return std::vector<std::string>(); })) {
      bits += service.bits.value_or(0);
      new_flows += service.new_flows.value_or(0);
    }
    const json& flows = now_.status.at("flows");
    line(fmt::format("forwarded {} packets/s, {} bit/s, {} new flows/s; {} flows of {}",
                     rate_text(rate_of_outcome("forwarded")), rate_text(bits), rate_text(new_flows),
                     grouped(flows.at("tracked").get<uint64_t>()),
                     rate_text(flows.at("capacity").get<double>())));
  }

  /// Engine dpdk: how busy each is. Of queues, which have no time of their own, the packets.
  void workers() {
    const json& was = before_.status.at("workers");
    const json& is = now_.status.at("workers");
    std::string text;
    for (size_t i = 0; i < is.size() && i < was.size(); ++i) {
      const auto busy = rate(was[i].at("busy_ns"), is[i].at("busy_ns"));
      const auto packets = rate(was[i].at("packets"), is[i].at("packets"));
      if (now_.status.at("engine") == "dpdk")
        text += fmt::format("  {}: {}", i, busy ? fmt::format("{:.0f} % busy", *busy / 1e7) : "-");
      else if (is[i].at("packets") != 0)
        text += fmt::format("  {}: {}/s", i, rate_text(packets));
    }
    line((now_.status.at("engine") == "dpdk" ? "workers" : "queues") + (text.empty() ? "  -" : text));
  }

  void drops() {
    std::vector<std::pair<double, std::string>> rates;
    double all = 0;
    for (const auto& [name, count] : now_.status.at("outcomes").items()) {
      if (std::ranges::find(kFine, name) != std::end(kFine)) continue;
      const double of_it = rate_of_outcome(name).value_or(0);
      if (of_it > 0) rates.emplace_back(-of_it, name);
      all += of_it;
    }
    std::ranges::sort(rates);
    std::string text = fmt::format("drops {}/s", rate_text(all));
    for (const auto& [negative, name] : rates) text += fmt::format("  {} {}", name, rate_text(-negative));
    line(text);
  }

  void health() {
    std::string text;
    for (const json& condition : now_.status.at("conditions")) {
      if (condition.at("state") != "fails") continue;
      text += fmt::format("{}{}{}{}", text.empty() ? "" : ", ", text_of(condition.at("name")),
                          condition.at("subject").is_null() ? "" : " ",
                          condition.at("subject").is_null() ? "" : text_of(condition.at("subject")));
    }
    std::map<std::string, size_t> states;
    for (const json& backend : now_.backends) ++states[text_of(backend.at("state"))];
    std::string backends;
    for (const auto& [state, count] : states)
      backends += fmt::format("{}{} {}", backends.empty() ? "" : ", ", count, state);
    line(fmt::format("{}backends: {}{}", now_.status.at("serves").get<bool>() ? "" : "SERVES NOT  ",
                     backends.empty() ? "none" : backends, text.empty() ? "" : "  FAILS: " + text));
  }

  template <typename Cells>
  std::vector<Rates> rates_of(const char* what, std::initializer_list<const char*> keys, Cells cells) const {
    const auto name_of = [&](const json& one) {
      std::string name;
      for (const char* key : keys) name += (name.empty() ? "" : "/") + text_of(one.at(key));
      return name;
    };
    const bool services = std::string_view(what) == "services";
    std::map<std::string, const json*> earlier;
    for (const json& one : services ? before_.services : before_.backends) earlier[name_of(one)] = &one;
    std::vector<Rates> all;
    for (const json& one : services ? now_.services : now_.backends) {
      Rates rates{name_of(one), cells(one), {}, {}, {}};
      if (const auto found = earlier.find(rates.name); found != earlier.end()) {
        const json& was = *found->second;
        rates.packets = rate(was.at("packets"), one.at("packets"));
        rates.bits = rate(was.at("bytes"), one.at("bytes"));
        if (rates.bits) *rates.bits *= 8;
        rates.new_flows = rate(was.at("new_flows"), one.at("new_flows"));
      }
      all.push_back(std::move(rates));
    }
    return all;
  }

  /// What is left of the screen.
  std::pair<size_t, size_t> rows_for(size_t services, size_t backends) const {
    if (layout_.lines == 0) return {services, backends};
    const auto less = [](size_t a, size_t b) { return a - std::min(a, b); };
    constexpr size_t kBetween = 3;  // two headings, and an empty line
    const size_t room = less(layout_.lines, lines_ + kBetween);
    const size_t first = std::min({services, room, std::max({kFewestRows, room / 3, less(room, backends)})});
    const size_t rest =
        less(room, first + (first < services ? 1 : 0));  // a line says how many more there are
    return {first, backends <= rest ? backends : less(rest, 1)};
  }

  void table(std::vector<std::string> headings, std::vector<Rates> rows, size_t most) {
    const auto key = [&](const Rates& one) {
      return layout_.sort == TopSort::kPackets ? one.packets
             : layout_.sort == TopSort::kBits  ? one.bits
                                               : one.new_flows;
    };
    if (layout_.sort == TopSort::kName)
      std::ranges::sort(rows, {}, &Rates::name);
    else
      std::ranges::stable_sort(rows, [&](const Rates& a, const Rates& b) { return key(a) > key(b); });
    headings.insert(headings.end(), {">PACKETS/s", ">BIT/s", ">NEW/s"});
    TextTable table(headings);
    for (size_t i = 0; i < rows.size() && i < most; ++i) {
      std::vector<std::string> cells = {rows[i].name};
      cells.insert(cells.end(), rows[i].cells.begin(), rows[i].cells.end());
      cells.insert(cells.end(),
                   {rate_text(rows[i].packets), rate_text(rows[i].bits), rate_text(rows[i].new_flows)});
      table.add(std::move(cells));
    }
    const std::string rendered = table.render();
    for (size_t at = 0; at < rendered.size();) {
      const size_t end = rendered.find('\n', at);
      line(std::string_view(rendered).substr(at, end - at));
      at = end + 1;
    }
    if (rows.size() > most)
      line(fmt::format("{} more, sorted by {}", rows.size() - most, top_sort_name(layout_.sort)));
  }

  const TopSample& before_;
  const TopSample& now_;
  const TopLayout& layout_;
  double seconds_;
  std::string text_;
  size_t lines_ = 0;
};

}  // namespace

const char* top_sort_name(TopSort sort) {
  return kSortNames[static_cast<int>(sort)];
}

std::string rate_text(std::optional<double> per_second) {
  if (!per_second) return "-";
  constexpr const char* kUnits[] = {"", "k", "M", "G", "T"};
  double value = *per_second;
  size_t unit = 0;
  while (value >= 999.5 && unit + 1 < std::size(kUnits)) {
    value /= 1000;
    ++unit;
  }
  if (unit == 0) return fmt::format("{:.{}f}", value, value > 0 && value < 9.95 ? 1 : 0);
  return fmt::format("{:.{}f}{}", value, value < 9.995 ? 2 : value < 99.95 ? 1 : 0, kUnits[unit]);
}

std::string render_top(const TopSample& before, const TopSample& now, const TopLayout& layout) {
  return Screen(before, now, layout).render();
}

}  // namespace linimo
