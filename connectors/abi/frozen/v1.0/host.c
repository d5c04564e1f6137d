/* The smallest host of v1.0: loads the library that it is given, shakes hands with exactly the sizes of v1.0, opens it, asks
   for its description, and closes it. Prints the connector's name; whatever is wrong ends it with a sentence and 1. */
#define _POSIX_C_SOURCE 200809L
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tether_connector.h"

#define CALL 7

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t answered = PTHREAD_COND_INITIALIZER;
static tether_buffer answer;
static int answers;

static void fail(const char *why) {
  fprintf(stderr, "host: %s\n", why);
  exit(1);
}

static void complete(uint64_t call, tether_buffer buffer) {
  if (call != CALL) {
    fail("an answer to a call that was never made");
  }
  pthread_mutex_lock(&lock);
  answer = buffer;
  answers++;
  pthread_cond_signal(&answered);
  pthread_mutex_unlock(&lock);
}

static void log_line(uint64_t instance, uint32_t level, tether_slice target, tether_slice message) {
  (void)instance, (void)level, (void)target;
  fprintf(stderr, "%.*s\n", (int)message.len, (const char *)message.data);
}

static int64_t now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void notify(uint64_t instance, uint32_t event) { (void)instance, (void)event; }

/* Memory behind the table that no library of v1.0 or later may touch: it was told the table's size. */
struct fenced {
  tether_connector_api api;
  uint64_t fence;
};

int main(int argc, char **argv) {
  if (argc != 2) {
    fail("usage: host LIBRARY");
  }
  void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) {
    fail(dlerror());
  }
  tether_connector_entry entry;
  void *symbol = dlsym(library, "tether_connector_v1");
  if (symbol == NULL) {
    fail("no tether_connector_v1");
  }
  memcpy(&entry, &symbol, sizeof entry);

  const tether_host_api host = {
      sizeof host, TETHER_CONNECTOR_MINOR, TETHER_LOG_WARN, 0, complete, log_line, now_us, notify};
  struct fenced place;
  memset(&place, 0, sizeof place);
  place.api.struct_size = sizeof place.api;
  place.fence = UINT64_C(0x5ca1ab1e5ca1ab1e);
  tether_buffer err = {NULL, 0, 0, NULL};
  if (entry(&host, &place.api, &err) != TETHER_OK) {
    fail("the library refuses the handshake");
  }
  if (place.api.struct_size != sizeof place.api || place.fence != UINT64_C(0x5ca1ab1e5ca1ab1e)) {
    fail("the library filled more than there was room for");
  }

  /* An empty OpenRequest: no settings, no policy. */
  const tether_slice nothing = {NULL, 0};
  uint64_t instance = 0;
  if (place.api.open(1, nothing, &instance, &err) != TETHER_OK || instance == 0) {
    fail("the library does not open");
  }
  /* CallRequest{describe: {}} */
  static const uint8_t describe[] = {0x12, 0x00};
  const tether_slice request = {describe, sizeof describe};
  place.api.call(instance, CALL, request);

  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += 20;
  pthread_mutex_lock(&lock);
  while (answers == 0) {
    if (pthread_cond_timedwait(&answered, &lock, &until) != 0) {
      fail("no answer");
    }
  }
  pthread_mutex_unlock(&lock);
  place.api.close(instance);
  if (answers != 1) {
    fail("more than one answer");
  }

  /* CallResponse.describe (2), a length, DescribeResponse.connector (1), a length below 128, the name. */
  size_t at = 1;
  while (at < answer.len && (answer.data[at] & 0x80) != 0) {
    at++;
  }
  at++;
  if (at + 2 > answer.len || answer.data[0] != 0x12 || answer.data[at] != 0x0a ||
      at + 2 + answer.data[at + 1] > answer.len) {
    fail("the answer is no description");
  }
  printf("%.*s\n", (int)answer.data[at + 1], (const char *)answer.data + at + 2);
  if (answer.free != NULL) {
    answer.free(answer.data, answer.len, answer.owner);
  }
  return 0;
}
