#include "controlplane/config/sections.h"
#include "controlplane/config/values.h"

namespace linimo {

MetricsConfig read_metrics(const TomlValue& value) {
  const TomlTable table = value.table({"listen", "page"});
  MetricsConfig metrics;
  table.with("listen", [&](const TomlValue& listen) { metrics.listen = read_tcp_endpoint(listen); });
  table.with("page", [&](const TomlValue& page) { metrics.page = page.boolean(); });
  return metrics;
}

}  // namespace linimo
