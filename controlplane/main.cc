// linimo-controlplane: checks the backends, computes the tables and hands them to the data plane.
//
//   linimo-controlplane --config /etc/linimo/linimo.toml
//
// SIGHUP, or a change of the file, reads it again; SIGTERM and SIGINT end the process and nothing else: the
// data plane goes on with what it has. Exit codes: 0 asked to end, 1 it could not start or go on, 2 wrong
// usage.
#include <csignal>
#include <iostream>
#include <new>

#include <CLI/CLI.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>

#include "controlplane/api/routes.h"
#include "controlplane/config/file_watcher.h"
#include "controlplane/controller.h"
#include "controlplane/health/all_probers.h"
#include "controlplane/http/api_listener.h"
#include "controlplane/http/http_server.h"
#include "controlplane/http/metrics_listener.h"
#include "controlplane/http/serving_thread.h"
#include "controlplane/log.h"
#include "controlplane/service_reports.h"
#include "controlplane/state_folder.h"
#include "maglev/harden.h"
#include "maglev/log_format.h"
#include "maglev/os/process_lock.h"
#include "maglev/program.h"

namespace linimo {
namespace {

// A configuration is to be applied whole.
constexpr uint64_t kApiBodyBytes = 4 << 20;

void log_warnings(const Config& config) {
  for (const std::string& warning : config.warnings) log_warning("configuration", {{"warning", warning}});
}

void reload_on_hangup(boost::asio::signal_set& hangup, Controller& controller) {
  hangup.async_wait([&](const boost::system::error_code& error, int) {
    if (error) return;
    (void)controller.reload("signal SIGHUP");  // an error is logged there
    reload_on_hangup(hangup, controller);
  });
}

/// What runs out of memory is given up, and the rest goes on: a check that is made again, a request.
void run_through(boost::asio::io_context& io) {
  while (!io.stopped()) {
    try {
      io.run();
    } catch (const std::bad_alloc&) {
      log_error("out of memory, something was left undone");
    }
  }
}

int serve(const std::filesystem::path& file) {
  // Whoever ends this process while it loads a configuration does not mean that one.
  sigset_t ends;
  sigemptyset(&ends);
  for (const int signal : {SIGTERM, SIGINT}) sigaddset(&ends, signal);
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);
  auto [config, trial, text, complaint] = load_at_start(file);
  if (!config) {
    log_error("configuration refused", {{"why", config.error()}});
    return kFailed;
  }
  const auto lock =
      lock_runtime_dir(config->node.runtime_dir, {.file = "controlplane.lock", .what = "control plane"});
  if (!lock) {
    log_error("cannot start", {{"why", lock.error()}});
    return kFailed;
  }
  if (const auto opened = open_state_folder(config->node); !opened) {
    log_error("cannot start", {{"why", opened.error()}});
    return kFailed;
  }
  if (complaint.empty()) trial.begin(text);  // unless it is, in a folder that was there
  std::signal(SIGPIPE, SIG_IGN);

  boost::asio::io_context serving(1);  // outlives `io`, where answers may wait that belong to it
  boost::asio::io_context io(1);
  const NodeConfig node = config->node;
  const auto prober = make_all_probers(io, node.runtime_dir);
  std::unique_ptr<FleetMember> member;
  if (config->fleet) {
    auto made = FleetMember::make(io, *config, complaint.empty() ? text : trial.last_good().value_or(text));
    if (!made) {
      log_error("cannot start", {{"why", made.error()}});
      return kFailed;
    }
    member = std::move(*made);
    if (auto known = member->remembered()) *config = std::move(*known);
  }
  Controller controller(io, std::move(*config), *prober, std::move(trial), member.get());
  if (!complaint.empty()) {
    log_error("configuration not loaded", {{"why", complaint}});
    controller.note_error(complaint);
  }
  Api api(serving, io, controller, member.get());
  HttpServer server(
      serving, node.control_socket(),
      [&](const HttpRequest& request, const auto& respond) { api.answer(request, respond); },
      HttpLimits{.body_bytes = kApiBodyBytes});
  const auto telling = [&](const char* what) {
    return [&controller, &io, what](const std::string& why) {
      boost::asio::post(io, [&controller, what, why] { controller.note_unserved(what, why); });
    };
  };
  MetricsListener metrics(
      serving, [&](const HttpRequest& request, const auto& respond) { api.answer_metrics(request, respond); },
      [&](const HttpRequest& request, const auto& respond) { api.answer_reads(request, respond); },
      telling("metrics"));
  metrics.follow(controller.config().metrics);
  ApiListener remote(
      serving, [&](const HttpRequest& request, const auto& respond) { api.answer(request, respond); },
      kApiBodyBytes, telling("API"));
  remote.follow(controller.config().api);
  controller.on_loaded([&](const Config& loaded) {
    boost::asio::post(serving, [&, wanted = loaded.metrics] { metrics.follow(wanted); });
    boost::asio::post(serving, [&, wanted = loaded.api] { remote.follow(wanted); });
    log_warnings(loaded);
  });
  log_warnings(controller.config());
  FileWatcher watcher(io, file, [&] { (void)controller.reload("configuration file"); });

  boost::asio::signal_set hangup(io, SIGHUP);
  reload_on_hangup(hangup, controller);
  ServiceReports reports(io, controller);
  boost::asio::signal_set end(io, SIGTERM, SIGINT);
  end.async_wait([&](const boost::system::error_code&, int signal) {
    log_info("ending, the data plane goes on", {{"signal", signal}});
    reports.stopping();
    io.stop();
  });
  pthread_sigmask(SIG_UNBLOCK, &ends, nullptr);

  controller.start();
  const ServingThread serving_thread(serving);
  log_info("started", {{"node", node.name},
                       {"version", LINIMO_VERSION},
                       {"config", file.string()},
                       {"revision", controller.config().revision},
                       {"socket", node.control_socket().string()}});
  reports.start();
  run_through(io);
  return 0;
}

int run(int argc, char** argv) {
  std::filesystem::path file = kConfigFile;
  std::string level = "info";
  CLI::App app("Linimo's control plane: decides what linimo-dataplane forwards by.", "linimo-controlplane");
  app.set_version_flag("--version", LINIMO_VERSION);
  app.add_option("--config", file, kConfigFileText)->capture_default_str();
  app.add_option("--log-level", level, kLogLevelsText)
      ->check(CLI::IsMember(std::vector<std::string>(std::begin(kLogLevels), std::end(kLogLevels))))
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsage;
  }
  set_log_level(level);
  harden_process();
  return serve(std::filesystem::absolute(file));
}

}  // namespace
}  // namespace linimo

int main(int argc, char** argv) {
  try {
    return linimo::run(argc, argv);
  } catch (const std::exception& error) {
    linimo::log_error("cannot go on", {{"why", error.what()}});
    return linimo::kFailed;
  }
}
