#define _POSIX_C_SOURCE 200809L
#include "host.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "contract.h"
#include "pb.h"

#define MOST_CALLS 200000

tether_connector_api api;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t come = PTHREAD_COND_INITIALIZER;
static struct bytes answers[MOST_CALLS];
static uint8_t counts[MOST_CALLS];
static uint64_t last;

void check_failed(const char *file, int line, const char *what) {
  fprintf(stderr, "%s:%d: %s\n", file, line, what);
  abort();
}

static void complete(uint64_t call, tether_buffer answer) {
  pthread_mutex_lock(&lock);
  CHECK(call > 0 && call <= last && counts[call] == 0);
  counts[call] = 1;
  bytes_put(&answers[call], answer.data, answer.len);
  pthread_cond_broadcast(&come);
  pthread_mutex_unlock(&lock);
  if (answer.free != NULL) {
    answer.free(answer.data, answer.len, answer.owner);
  }
}

static void log_line(uint64_t instance, uint32_t level, tether_slice target, tether_slice message) {
  (void)instance, (void)level, (void)target;
  /* No key in any log. */
  for (size_t i = 0; i + 4 <= message.len; i++) {
    CHECK(memcmp(message.data + i, "key-", 4) != 0);
  }
}

int64_t host_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void notify(uint64_t instance, uint32_t event) {
  (void)instance, (void)event;
  CHECK(!"the connector is poisoned");
}

void host_begin(void) {
  const tether_host_api host = {
      sizeof host, TETHER_CONNECTOR_MINOR, TETHER_LOG_TRACE, 0, complete, log_line, host_now, notify};
  tether_buffer err;
  memset(&api, 0, sizeof api);
  /* A host of before 1.0 is refused with a reason. */
  api.struct_size = 8;
  CHECK(tether_connector_v1(&host, &api, &err) == TETHER_ERROR && err.len > 0);
  err.free(err.data, err.len, err.owner);
  for (int i = 0; i < 2; i++) {
    api.struct_size = sizeof api;
    CHECK(tether_connector_v1(&host, &api, &err) == TETHER_OK && api.struct_size == sizeof api);
  }
}

uint64_t host_open(const char *const *settings, int *kind) {
  struct bytes request = {0};
  for (; settings[0] != NULL; settings += 2) {
    size_t entry = pb_begin(&request, 3);
    pb_string(&request, 1, settings[0]);
    pb_string(&request, 2, settings[1]);
    pb_end(&request, entry);
  }
  uint64_t number = 0;
  tether_buffer err;
  tether_slice slice = {request.data, request.len};
  *kind = 0;
  if (api.open(1, slice, &number, &err) != TETHER_OK) {
    struct text error = {(const char *)err.data, err.len};
    *kind = (int)pb_get_number(error, 1);
    CHECK(*kind != 0 && pb_get_text(error, 2).len > 0);
    err.free(err.data, err.len, err.owner);
    number = 0;
  } else {
    CHECK(number != 0);
  }
  bytes_free(&request);
  return number;
}

uint64_t host_number(void) {
  pthread_mutex_lock(&lock);
  uint64_t number = ++last;
  CHECK(number < MOST_CALLS);
  pthread_mutex_unlock(&lock);
  return number;
}

bool host_has(uint64_t call) {
  pthread_mutex_lock(&lock);
  bool has = counts[call] != 0;
  pthread_mutex_unlock(&lock);
  return has;
}

struct bytes host_wait(uint64_t call) {
  pthread_mutex_lock(&lock);
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += 60;
  while (counts[call] == 0) {
    CHECK(pthread_cond_timedwait(&come, &lock, &until) == 0);
  }
  struct bytes answer = answers[call];
  memset(&answers[call], 0, sizeof answer);
  pthread_mutex_unlock(&lock);
  return answer;
}

struct bytes host_request(uint32_t kind, const struct bytes *message, int64_t deadline_us) {
  struct bytes request = {0};
  pb_number(&request, 1, (uint64_t)deadline_us);
  size_t inside = pb_begin(&request, kind);
  bytes_put(&request, message->data, message->len);
  pb_end(&request, inside);
  return request;
}

struct bytes host_call(uint64_t instance, uint32_t kind, const struct bytes *message, int64_t deadline_us) {
  struct bytes request = host_request(kind, message, deadline_us);
  uint64_t number = host_number();
  tether_slice slice = {request.data, request.len};
  api.call(instance, number, slice);
  bytes_free(&request);
  return host_wait(number);
}

struct bytes host_pull(uint64_t instance, uint64_t stream) {
  uint64_t number = host_number();
  tether_slice nothing = {NULL, 0};
  api.stream_next(instance, number, stream, nothing);
  return host_wait(number);
}

uint32_t member(const struct bytes *answer, struct text *message) {
  struct text all = {(const char *)answer->data, answer->len};
  struct pb_reader reader = pb_reader_of(all);
  struct pb_field field;
  CHECK(pb_next(&reader, &field) && reader.at == reader.end && pb_is_message(field.text));
  *message = field.text;
  return field.number;
}

int error_kind(const struct bytes *answer) {
  struct text message;
  uint32_t number = member(answer, &message);
  if (number != RESPONSE_ERROR && number != EVENT_ERROR) {
    return 0;
  }
  CHECK(pb_get_text(message, 2).len > 0);
  return (int)pb_get_number(message, 1);
}
