"""A gRPC server with the health service, for test_health_checks.py: `grpc_server.py ADDRESS FILE`. The file's content is the
status that it answers with (1: serving); without it, it knows no such service."""

from __future__ import annotations

import sys
from concurrent import futures
from pathlib import Path

import grpc


def serve(address: str, status_file: Path) -> None:
    def check(request: bytes, context: grpc.ServicerContext) -> bytes:
        if request != b"\x0a\x05a.Web":  # HealthCheckRequest { service: "a.Web" }
            context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return bytes([8, int(status_file.read_text())])  # HealthCheckResponse { status }

    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    handlers = {"Check": grpc.unary_unary_rpc_method_handler(check)}  # bytes in, bytes out
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.health.v1.Health", handlers),))
    if server.add_insecure_port(address) == 0:
        sys.exit(f"cannot listen on {address}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]))
