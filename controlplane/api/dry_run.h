// POST /v1/dry-run: what a change would do to flows.
#pragma once

#include "controlplane/controller.h"
#include "controlplane/http/http_server.h"

namespace linimo {

/// The body: {"config": "the text of a file"}, or {"pool": "web", "backend": "10.0.1.1", "drain": true}. On
/// the loop that decides.
HttpResponse dry_run(const HttpRequest& request, Controller& controller);

}  // namespace linimo
