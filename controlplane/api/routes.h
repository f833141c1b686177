// What the API answers to which request. Pure apart from what the controller does on a POST.
//
//   GET /v1/status   GET /v1/services   GET /v1/backends   GET /v1/pools   POST /v1/reload
//   POST /v1/drain, /v1/undrain with {"pool": NAME, "backend": ADDRESS}
//   POST /v1/node/drain, /v1/node/undrain
//   GET /metrics
//
// Every answer but the metrics is JSON; an error is {"error": "..."}.
#pragma once

#include "controlplane/api/http_server.h"
#include "controlplane/controller.h"

namespace linimo {

HttpResponse answer(const HttpRequest& request, Controller& controller);

}  // namespace linimo
