// Events for those who follow them: each gets all of them in order or is told that it does not, those who
// come again go on where they were, and nobody who is slow or many costs anything.

#include "controlplane/api/event_feed.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/socket.h>
#include <sys/un.h>

#include "controlplane/cli/watch.h"
#include "tests/unit/fake_dataplane.h"
#include "tests/unit/temporary_folder.h"

namespace linimo {
namespace {

class EventFeedTest : public testing::Test {
 protected:
  static constexpr size_t kStreams = 3;

  EventFeedTest() {
    set_log_level("error");
    events_.follow([this](const auto& event) { feed_->tell(event); });
  }

  void happen(size_t count, const std::string& why = "x") {
    for (size_t i = 0; i < count; ++i)
      events_.note(EventKind::kHealth, log_debug, "backend state changed", {{"pool", "web"}, {"why", why}});
  }
  void happen_and_arrive(size_t count, const std::string& why = "x") {
    while (count > 0) {  // in such numbers as the serving thread takes
      const size_t now = std::min(count, kEventsKept / 2);
      happen(now, why);
      io_.poll();
      count -= now;
    }
  }

  struct Client {
    UniqueFd fd;
    std::string head;
    std::vector<StreamedEvent> events{};
    bool closed = false;
    EventStreamReader reader{};
  };

  Client connect_client(const std::string& more_headers = {}, const std::string& query = {}) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    socket_.string().copy(address.sun_path, sizeof address.sun_path - 1);
    Client client{UniqueFd(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)), {}};
    EXPECT_EQ(connect(client.fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    const std::string request = "GET /v1/events" + query + " HTTP/1.1\r\n" + more_headers + "\r\n";
    EXPECT_GT(send(client.fd.get(), request.data(), request.size(), MSG_NOSIGNAL), 0);
    return client;
  }
  Client follower(const std::string& last_id = {}, size_t past = 0) {
    Client client = connect_client(last_id.empty() ? "" : "Last-Event-ID: " + last_id + "\r\n",
                                   "?past=" + std::to_string(past));
    EXPECT_TRUE(run_until(io_, [&] {
      read(client);
      return !client.head.empty();
    }));
    return client;
  }

  /// What has come by now.
  void read(Client& client) {
    char chunk[65536];
    ssize_t length;
    while ((length = recv(client.fd.get(), chunk, sizeof chunk, 0)) > 0) {
      std::string_view bytes(chunk, static_cast<size_t>(length));
      if (client.head.empty()) {
        const size_t end = bytes.find("\r\n\r\n");
        ASSERT_NE(end, std::string_view::npos);
        client.head = bytes.substr(0, end);
        bytes.remove_prefix(end + 4);
      }
      client.reader.take(bytes, [&](const StreamedEvent& event) { client.events.push_back(event); });
    }
    client.closed = length == 0;
  }
  bool comes(Client& client, size_t count) {
    return run_until(io_, [&] {
      read(client);
      return client.events.size() >= count;
    });
  }

  TemporaryFolder folder_;
  std::filesystem::path socket_ = folder_.path() / "control.sock";
  boost::asio::io_context io_;
  std::shared_ptr<EventFeed> feed_ = std::make_shared<EventFeed>(io_);
  EventLog events_;
  HttpServer server_{io_, socket_,
                     [this](const HttpRequest& request, const auto& respond) {
                       HttpResponse response(200, "", "text/event-stream");
                       const size_t past =
                           std::stoul("0" + request.query.substr(request.query.find('=') + 1));
                       response.stream = feed_->open(request.last_event_id, past);
                       respond(response);
                     },
                     HttpLimits{.streams = kStreams}};
};

TEST_F(EventFeedTest, TellsWhatHappensToAllWhoFollow) {
  happen_and_arrive(1);
  Client one = follower(), other = follower();
  EXPECT_TRUE(one.head.starts_with("HTTP/1.1 200 ")) << one.head;
  EXPECT_NE(one.head.find("text/event-stream"), std::string::npos);
  EXPECT_EQ(one.head.find("Content-Length"), std::string::npos);
  happen(1, "a \"quoted\"\nreason\xff");
  ASSERT_TRUE(comes(one, 1) && comes(other, 1));
  EXPECT_EQ(one.events[0].data, other.events[0].data);
  const auto event = nlohmann::json::parse(one.events[0].data);
  EXPECT_EQ(event.at("id"), one.events[0].id);
  EXPECT_TRUE(one.events[0].id.ends_with("-2"));
  EXPECT_EQ(event.at("kind"), "health");
  EXPECT_EQ(event.at("what"), "backend state changed");
  EXPECT_EQ(event.at("details").at("pool"), "web");
  EXPECT_EQ(event.at("details").at("why"), "a \"quoted\"\nreason\xef\xbf\xbd");
  EXPECT_EQ(event.at("time").get<std::string>().size(), std::string("2026-01-31T12:00:00.123Z").size());
  happen(2);
  ASSERT_TRUE(comes(one, 3));
}

TEST_F(EventFeedTest, WhoComesAgainMissesNothing) {
  Client before = follower();
  happen(1);
  ASSERT_TRUE(comes(before, 1));
  const std::string last = before.events[0].id;
  before.fd = UniqueFd();
  happen_and_arrive(3);
  Client again = follower(last);
  ASSERT_TRUE(comes(again, 3));
  EXPECT_EQ(again.events[0].type, "");
  EXPECT_TRUE(again.events[0].id.ends_with("-2")) << again.events[0].id;
  Client current = follower(again.events[2].id);
  happen(1);
  ASSERT_TRUE(comes(current, 1));
  EXPECT_TRUE(current.events[0].id.ends_with("-5"));
}

TEST_F(EventFeedTest, TheLatestComeFirstWhereTheyAreWanted) {
  happen_and_arrive(5);
  Client client = follower("", 2);
  ASSERT_TRUE(comes(client, 2));
  EXPECT_TRUE(client.events[0].id.ends_with("-4"));
  Client greedy = follower("", 1000);
  ASSERT_TRUE(comes(greedy, 5));
}

TEST_F(EventFeedTest, SaysWhatIsNotRememberedAnyMore) {
  happen_and_arrive(1);
  Client first = follower("", 1);
  ASSERT_TRUE(comes(first, 1));
  const std::string id = first.events[0].id;
  first.fd = UniqueFd();
  happen_and_arrive(kEventsKept + 10);
  const std::string process = id.substr(0, id.find('-') + 1);
  for (const std::string& last : {id, std::string("0badc0de-7"), std::string("x"), process,
                                  process + "99999999", process + "-1", std::string(7000, '1')}) {
    Client client = follower(last);
    ASSERT_TRUE(comes(client, 2)) << last.substr(0, 20);
    EXPECT_EQ(client.events[0].type, "gap");
    EXPECT_TRUE(client.events[1].id.ends_with("-12")) << "and then all that is: " << client.events[1].id;
  }
}

/// It is not waited for, and costs no memory: what it did not take in time is gone, and it is told so.
TEST_F(EventFeedTest, ASlowReaderIsCutOffWithTheReason) {
  Client slow = follower(), quick = follower();
  const std::string why(2000, 'x');
  for (int i = 0; i < 8; ++i) {
    happen_and_arrive(kEventsKept / 4, why);
    run_until(io_, [&] {
      read(quick);
      return quick.events.size() >= kEventsKept / 4 * (static_cast<size_t>(i) + 1);
    });
  }
  EXPECT_EQ(quick.events.size(), kEventsKept * 2);
  ASSERT_TRUE(run_until(io_, [&] {
    read(slow);
    return slow.closed;
  }));
  ASSERT_FALSE(slow.events.empty());
  EXPECT_LT(slow.events.size(), kEventsKept);
  EXPECT_EQ(slow.events.back().type, "end");
  EXPECT_NE(slow.events.back().data.find("too slow"), std::string::npos);
  for (size_t i = 0; i + 1 < slow.events.size(); ++i)
    ASSERT_TRUE(slow.events[i].id.ends_with("-" + std::to_string(i + 1))) << "in order until then";
}

/// Who decides never waits, and piles nothing up: a serving thread that stands still loses events.
TEST_F(EventFeedTest, WhoTellsIsNotHeldUp) {
  Client client = follower();
  happen(kEventsKept * 3);
  ASSERT_TRUE(comes(client, kEventsKept));
  happen(1);
  ASSERT_TRUE(run_until(io_, [&] {
    read(client);
    return client.closed;
  }));
  EXPECT_EQ(client.events.back().type, "end");
}

TEST_F(EventFeedTest, TheirNumberIsBounded) {
  std::vector<Client> clients;
  for (size_t i = 0; i < kStreams; ++i) clients.push_back(follower());
  EXPECT_TRUE(follower().head.starts_with("HTTP/1.1 503 "));
  clients.pop_back();
  EXPECT_TRUE(run_until(io_, [&] { return follower().head.starts_with("HTTP/1.1 200 "); }))
      << "the place of one that left";
  happen(1);
  EXPECT_TRUE(comes(clients[0], 1));
}

TEST(EventStreamReader, TakesPiecesOfAnySize) {
  const std::string stream =
      ":\n\nid: a-1\r\ndata: {\"x\":1}\r\n\r\nevent: gap\ndata:two\ndata: lines\n\n\nid: "
      "a-2\nnonsense\n\ndata: 3\n\n";
  for (size_t size = 1; size <= stream.size(); ++size) {
    EventStreamReader reader;
    std::string seen;
    for (size_t at = 0; at < stream.size(); at += size) {
      reader.take(std::string_view(stream).substr(at, size), [&](const StreamedEvent& event) {
        seen += event.id + "/" + event.type + "/" + event.data + ";";
      });
    }
    ASSERT_EQ(seen, "a-1//{\"x\":1};a-1/gap/two\nlines;a-2//3;") << size;
  }
}

TEST(EventStreamReader, LeavesOutWhatIsTooLong) {
  EventStreamReader reader;
  std::string seen;
  const auto take = [&](std::string_view bytes) {
    reader.take(bytes, [&](const StreamedEvent& event) { seen += event.data + ";"; });
  };
  take("data: ");
  for (int i = 0; i < 5; ++i) take(std::string(1 << 20, 'x'));
  take("\n\ndata: short\n\n");
  EXPECT_EQ(seen, "short;");
}

TEST(EventLine, IsOneLineWhateverComes) {
  EXPECT_EQ(
      event_line(
          R"({"id":"a-1","time":"T","kind":"health","what":"it changed","details":{"a":"b c","d":"e"}})"),
      "T health        it changed  a=\"b c\" d=e");
  EXPECT_EQ(event_line(R"({"details":{"a":"b\nc"}})").find('\n'), std::string::npos);
  EXPECT_EQ(event_line("{"), "{");
}

}  // namespace
}  // namespace linimo
