#include "dataplane/xdp/xdp_capture.h"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include <bpf/bpf.h>
#include <fmt/format.h>
#include <linux/bpf.h>

#include "dataplane/xdp/filter_program.h"

namespace linimo::xdp {
namespace {

constexpr uint32_t kExits = 2;  // of a filter: what is wanted, and all else

tl::unexpected<std::string> failed(const char* what) {
  return tl::unexpected(fmt::format("{}: {}", what, std::strerror(errno)));
}

}  // namespace

tl::expected<std::unique_ptr<XdpCapture>, std::string> XdpCapture::begin(const Program& program,
                                                                         const CaptureRequest& request,
                                                                         const std::vector<Place>& places,
                                                                         const std::filesystem::path& pin,
                                                                         std::function<void()> on_end) {
  if (places.empty()) return tl::unexpected<std::string>("the program is on no interface");
  std::unique_ptr<XdpCapture> capture(new XdpCapture(request, places, pin, std::move(on_end)));
  capture->exits_ = UniqueFd(bpf_map_create(BPF_MAP_TYPE_PROG_ARRAY, "linimo_exits", sizeof(uint32_t),
                                            sizeof(uint32_t), kExits * LINIMO_MAX_PORTS, nullptr));
  if (!capture->exits_) return failed("a map for the capture");
  std::error_code ignored;
  std::filesystem::remove(pin, ignored);
  if (!pin.empty() && bpf_obj_pin(capture->exits_.get(), pin.c_str()) != 0)
    return failed("a pin for the capture");
  std::vector<CaptureSetting> settings;
  for (const Place& place : places)
    settings.push_back(
        {request.snap, request.rate, place.port, program.mac_of(place.port), place.first_row, place.rows});
  capture->loading_ =
      std::async(std::launch::async,
                 [&program, settings = std::move(settings)]() -> tl::expected<Programs, std::string> {
                   Programs programs;
                   for (const CaptureSetting& setting : settings) {
                     auto loaded = CaptureProgram::load(program, setting,
                                                        programs.empty() ? nullptr : programs.front().get());
                     if (!loaded) return tl::unexpected(loaded.error());
                     programs.push_back(std::move(*loaded));
                   }
                   return programs;
                 });
  return capture;
}

bool XdpCapture::loading() {
  if (!loading_.valid()) return false;
  if (loading_.wait_for(std::chrono::seconds(0)) != std::future_status::ready) return true;
  auto loaded = loading_.get();
  if (!loaded) end(loaded.error());
  if (!ended_.empty()) return false;  // also: something changed meanwhile
  programs_ = std::move(*loaded);
  for (size_t i = 0; i < places_.size() && ended_.empty(); ++i) {
    if (auto stands = stand(places_[i], programs_[i]->fd()); !stands) end(stands.error());
  }
  return false;
}

tl::expected<void, std::string> XdpCapture::stand(const Place& place, int wanted) {
  const FilterExits exits{exits_.get(), kExits * place.port, kExits * place.port + 1};
  if (bpf_map_update_elem(exits.programs, &exits.wanted, &wanted, BPF_ANY) != 0 ||
      bpf_map_update_elem(exits.programs, &exits.other, &place.program, BPF_ANY) != 0)
    return failed("where the capture's filter leads");
  const auto filter = load_filter(request_.filter.steps(), exits);
  if (!filter) return tl::unexpected(filter.error());
  if (bpf_link_update(place.link, filter->get(), nullptr) != 0) return failed("the capture's filter");
  standing_.push_back(place);
  return {};
}

void XdpCapture::end(const std::string& why) {
  if (!ended_.empty()) return;
  ended_ = why;
  for (const Place& place : standing_) (void)bpf_link_update(place.link, place.program, nullptr);
  std::error_code ignored;
  std::filesystem::remove(pin_, ignored);
  on_end_();
}

XdpCapture::~XdpCapture() {
  end("it is no longer wanted");
}

}  // namespace linimo::xdp
