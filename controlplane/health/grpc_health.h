// The two messages of the gRPC health checking protocol, version 1, as they go over HTTP/2:
//
//   https://github.com/grpc/grpc/blob/master/doc/health-checking.md
//   https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md (Length-Prefixed-Message)
//
//   service Health { rpc Check(HealthCheckRequest) returns (HealthCheckResponse); }
//   message HealthCheckRequest { string service = 1; }
//   message HealthCheckResponse { ServingStatus status = 1; }   // 0 unknown, 1 serving, 2 not serving
//
// They are fixed and have one field each, so they are framed here: libcurl speaks the HTTP/2, and a gRPC
// library would bring its own threads and event loop for these few bytes.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace linimo {

inline constexpr const char* kGrpcHealthPath = "/grpc.health.v1.Health/Check";

/// A whole request body. `service` has at most 127 bytes.
std::string grpc_health_request(std::string_view service);

/// The status of a whole response body; nothing if it is not one uncompressed HealthCheckResponse.
std::optional<uint64_t> grpc_serving_status(std::string_view body);
inline constexpr uint64_t kGrpcServing = 1;

}  // namespace linimo
