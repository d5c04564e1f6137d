/*
 * A complete, small, correct connector in C: two objects, five companies; every call is answered inside its function. Each
 * library of the corpus is this one with one defect. A file defines its changes of the data, includes this file, defines the
 * functions that it replaces, names them in OPEN, CALL, …, and includes entry.h.
 *
 * NAME is the connector's name, from the compiler's command line.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tether_connector.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Defaults that a file may redefine before it includes this. */
#ifndef DESCRIBED_NAME
#define DESCRIBED_NAME NAME
#endif
#ifndef ROLE_OF_PEOPLE
#define ROLE_OF_PEOPLE 2 /* CONTACT */
#endif
#ifndef BATCH_OBJECT
#define BATCH_OBJECT "Company"
#endif
/* The payload of each row. */
#ifndef PAYLOAD
#define PAYLOAD text
#endif
/* The sequence number that is sent for checkpoint n. */
#ifndef SEQUENCE
#define SEQUENCE(n) (n)
#endif
#ifndef CHECKPOINT_BYTES
#define CHECKPOINT_BYTES 0
#endif
#ifndef COMPANIES
#define COMPANIES 5
#endif
#ifndef IN_A_BATCH
#define IN_A_BATCH 2
#endif
/* Whether a stream ends, and whether it has checkpoints. */
#ifndef ENDS
#define ENDS 1
#endif
#ifndef CHECKPOINTS
#define CHECKPOINTS 1
#endif

enum { MOST = 256 };

/* CallRequest and CallResponse. */
enum {
  DESCRIBE = 2, BEGIN_AUTHORIZATION = 3, EXCHANGE_CODE = 4, LOG_IN = 5, REFRESH = 6, REVOKE = 7, LIST_FIELDS = 8,
  COUNT_RECORDS = 9, FETCH_COMPANY = 10, READ = 11, PROVIDE_CREDENTIALS = 12
};
/* ErrorKind. */
enum { BUG = 19, UNSUPPORTED = 18, CONFIGURATION = 15 };

static tether_host_api host;

/* Protobuf ---------------------------------------------------------------------------------------------------------- */

typedef struct bytes {
  uint8_t *data;
  size_t len, room;
} bytes;

static inline void put(bytes *to, const void *data, size_t len) {
  if (to->len + len > to->room) {
    to->room = 2 * (to->len + len) + 64;
    to->data = realloc(to->data, to->room);
  }
  if (len > 0) memcpy(to->data + to->len, data, len);
  to->len += len;
}

static inline void put_varint(bytes *to, uint64_t value) {
  do {
    uint8_t byte = (value & 127) | (value > 127 ? 128 : 0);
    put(to, &byte, 1);
    value >>= 7;
  } while (value > 0);
}

static inline void put_number(bytes *to, uint32_t field, uint64_t value) {
  put_varint(to, field << 3);
  put_varint(to, value);
}

static inline void put_field(bytes *to, uint32_t field, const void *data, size_t len) {
  put_varint(to, field << 3 | 2);
  put_varint(to, len);
  put(to, data, len);
}

static inline void put_text(bytes *to, uint32_t field, const char *text) { put_field(to, field, text, strlen(text)); }

/* Appends a message to another as a field, and frees it. */
static inline void put_message(bytes *to, uint32_t field, bytes message) {
  put_field(to, field, message.data, message.len);
  free(message.data);
}

/* Reads the next field: its number, and its value or its bytes. Returns 0 at the end. */
static inline uint32_t next(tether_slice *from, uint64_t *value, tether_slice *inner) {
  uint64_t number[2] = {0, 0};
  const uint8_t *at = from->data, *end = from->data + from->len;
  for (int i = 0; i < 2; i++) {
    for (int shift = 0;; shift += 7) {
      if (at >= end || shift > 63) return 0;
      number[i] |= (uint64_t)(*at & 127) << shift;
      if (*at++ < 128) break;
    }
  }
  *value = number[1];
  *inner = (tether_slice){at, 0};
  if ((number[0] & 7) == 2) {
    if (number[1] > (uint64_t)(end - at)) return 0;
    inner->len = number[1];
    at += number[1];
  }
  *from = (tether_slice){at, (size_t)(end - at)};
  return (uint32_t)(number[0] >> 3);
}

/* Answers ----------------------------------------------------------------------------------------------------------- */

static inline void free_bytes(uint8_t *data, size_t len, uintptr_t owner) {
  (void)len, (void)owner;
  free(data);
}

static inline tether_buffer buffer(bytes from) { return (tether_buffer){from.data, from.len, 0, free_bytes}; }

static inline bytes error(int kind, const char *message) {
  bytes error = {0};
  put_number(&error, 1, kind);
  put_text(&error, 2, message);
  return error;
}

/* Answers a call with one field of CallResponse, or a pull with one of StreamEvent. */
static inline void answer(uint64_t call, uint32_t field, bytes message) {
  bytes whole = {0};
  put_message(&whole, field, message);
  host.complete(call, buffer(whole));
}

static inline void say(uint64_t host_instance, const char *line) {
  host.log(host_instance, TETHER_LOG_INFO, (tether_slice){(const uint8_t *)NAME, strlen(NAME)},
           (tether_slice){(const uint8_t *)line, strlen(line)});
}

/* The CRM ----------------------------------------------------------------------------------------------------------- */

static inline bytes described(void) {
  bytes it = {0}, company = {0}, person = {0}, method = {0}, key = {0};
  put_text(&it, 1, DESCRIBED_NAME);
  put_text(&it, 2, "Broken");
  put_text(&it, 3, "1.0.0");
  put_text(&company, 1, "Company");
  put_text(&company, 2, "Companies");
  put_number(&company, 3, 1);
  put_message(&it, 4, company);
  put_text(&person, 1, "Person");
  put_text(&person, 2, "People");
  put_number(&person, 3, ROLE_OF_PEOPLE);
  put_message(&it, 4, person);
  put_number(&method, 1, 4); /* API_KEY */
  put_text(&key, 1, "api_key");
  put_text(&key, 2, "Key");
  put_number(&key, 5, 1);
  put_number(&key, 6, 1);
  put_message(&method, 2, key);
  put_message(&it, 5, method);
  return it;
}

static inline bytes fields(void) {
  static const char *const keys[] = {"Industry", "Name"};
  bytes it = {0}, object = {0};
  put_text(&object, 1, "Company");
  put_text(&object, 2, "Companies");
  put_number(&object, 3, 1);
  for (int i = 0; i < 2; i++) {
    bytes field = {0};
    put_text(&field, 1, keys[i]);
    put_text(&field, 2, keys[i]);
    put_number(&field, 3, 1);
    put_message(&object, 4, field);
  }
  put_message(&it, 1, object);
  return it;
}

static inline bytes credentials(void) {
  bytes it = {0};
  put_text(&it, 1, "token");
  return it;
}

static inline bytes logged_in(void) {
  bytes it = {0}, identity = {0};
  put_message(&it, 1, credentials());
  put_text(&identity, 1, "org");
  put_text(&identity, 2, "user");
  put_text(&identity, 4, "user@broken.example");
  put_message(&it, 2, identity);
  return it;
}

/* Row n of the companies, 1 to COMPANIES. */
static inline bytes record(int n) {
  bytes it = {0};
  char id[16], text[96];
  snprintf(id, sizeof id, "C%d", n);
  put_text(&it, 1, id);
  snprintf(text, sizeof text, "{\"Industry\":\"Mining\",\"Name\":\"Company %d\"}", n);
  put_text(&it, 2, PAYLOAD);
  put_number(&it, 3, 1700000000000000 + n);
  snprintf(text, sizeof text, "Company %d", n);
  put_text(&it, 7, text);
  snprintf(text, sizeof text, "https://company-%d." NAME ".example", n);
  put_text(&it, 8, text);
  return it;
}

static inline bytes fetched(tether_slice request) {
  bytes it = {0}, result = {0};
  uint64_t value;
  tether_slice inner;
  put_text(&result, 1, "Company");
  for (uint32_t field; (field = next(&request, &value, &inner)) > 0;)
    if (field == 2 && inner.len == 2) put_message(&result, 2, record(inner.data[1] - '0'));
  put_message(&it, 1, result);
  put_number(&it, 3, host.now_us());
  return it;
}

/* Instances and streams --------------------------------------------------------------------------------------------- */

typedef struct stream {
  uint64_t number, instance;
  int row, sequence, batch_is_next, told;
} stream;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t last_number, open_instances[MOST], host_instances[MOST];
static stream streams[MOST];

/* The host's number of an open instance; 0 if it is not open. */
static inline uint64_t host_instance_of(uint64_t instance) {
  uint64_t found = 0;
  pthread_mutex_lock(&lock);
  for (int i = 0; i < MOST; i++)
    if (instance != 0 && open_instances[i] == instance) found = host_instances[i];
  pthread_mutex_unlock(&lock);
  return found;
}

static inline int32_t base_open(uint64_t host_instance, tether_slice request, uint64_t *out, tether_buffer *err) {
  (void)request;
  int32_t status = TETHER_ERROR;
  pthread_mutex_lock(&lock);
  for (int i = 0; i < MOST && status != TETHER_OK; i++)
    if (open_instances[i] == 0) {
      *out = open_instances[i] = ++last_number;
      host_instances[i] = host_instance;
      status = TETHER_OK;
    }
  pthread_mutex_unlock(&lock);
  if (status != TETHER_OK) *err = buffer(error(BUG, "too many instances"));
  return status;
}

static inline void open_stream(uint64_t instance, uint64_t call, tether_slice request) {
  stream new = {.instance = instance, .row = 1, .batch_is_next = 1};
  uint64_t value;
  tether_slice inner;
  for (uint32_t field; (field = next(&request, &value, &inner)) > 0;)
    if (field == 4 && inner.len > 0) new.row = inner.data[0] - '0';
  pthread_mutex_lock(&lock);
  for (int i = 0; i < MOST && new.number == 0; i++)
    if (streams[i].number == 0) {
      new.number = ++last_number;
      streams[i] = new;
    }
  pthread_mutex_unlock(&lock);
  bytes it = {0};
  put_number(&it, 1, new.number);
  answer(call, READ, it);
}

/* The kind of a call, and its message. */
static inline uint32_t kind_of(tether_slice request, tether_slice *message) {
  uint64_t value;
  uint32_t kind = 0, field;
  tether_slice inner;
  while ((field = next(&request, &value, &inner)) > 0)
    if (field >= DESCRIBE && field <= PROVIDE_CREDENTIALS) kind = field, *message = inner;
  return kind;
}

static inline void base_call(uint64_t instance, uint64_t call, tether_slice request) {
  tether_slice message = {0};
  bytes it = {0}, count = {0};
  if (host_instance_of(instance) == 0) return answer(call, 1, error(BUG, "no such instance"));
  switch (kind_of(request, &message)) {
    case DESCRIBE: return answer(call, DESCRIBE, described());
    case LOG_IN: return answer(call, 4, logged_in());
    case REFRESH:
      put_message(&it, 1, credentials());
      return answer(call, REFRESH, it);
    case REVOKE: return answer(call, REVOKE, it);
    case LIST_FIELDS: return answer(call, LIST_FIELDS, fields());
    case COUNT_RECORDS:
      put_text(&count, 1, "Company");
      put_number(&count, 2, COMPANIES);
      put_number(&count, 3, 1);
      put_message(&it, 1, count);
      return answer(call, COUNT_RECORDS, it);
    case FETCH_COMPANY: return answer(call, FETCH_COMPANY, fetched(message));
    case READ: return open_stream(instance, call, message);
    case PROVIDE_CREDENTIALS: return answer(call, PROVIDE_CREDENTIALS, it);
    default: return answer(call, 1, error(UNSUPPORTED, "this connector does not offer that"));
  }
}

static inline void base_cancel(uint64_t instance, uint64_t call) { (void)instance, (void)call; }

static inline void base_stream_next(uint64_t instance, uint64_t call, uint64_t number, tether_slice request) {
  (void)request;
  bytes it = {0};
  stream *found = NULL, was = {0};
  pthread_mutex_lock(&lock);
  for (int i = 0; i < MOST; i++)
    if (number != 0 && streams[i].number == number && streams[i].instance == instance) found = &streams[i];
  if (found != NULL) {
    was = *found;
    if (was.batch_is_next && was.row <= COMPANIES) found->row += IN_A_BATCH;
    if (was.batch_is_next && was.row > COMPANIES) found->told = 1;
    if (!ENDS && found->row > COMPANIES) found->row = 1;
    found->batch_is_next = !CHECKPOINTS || !was.batch_is_next;
    if (!was.batch_is_next) found->sequence++;
  }
  pthread_mutex_unlock(&lock);
  if (found == NULL) return answer(call, 9, error(BUG, "no such stream"));
  if (!was.batch_is_next) {
    put_number(&it, 1, (uint64_t)(SEQUENCE(was.sequence + 1)));
    bytes state = {0};
    char row = (char)('0' + was.row);
    put(&state, &row, 1);
    for (int i = 0; i < CHECKPOINT_BYTES; i++) put(&state, "x", 1);
    put_message(&it, 2, state);
    return answer(call, 2, it);
  }
  if (was.row > COMPANIES && was.told) return answer(call, 8, it);
  if (was.row > COMPANIES) {
    /* ObjectStatus: it was read completely. */
    put_text(&it, 1, BATCH_OBJECT);
    put_number(&it, 2, 1);
    return answer(call, 4, it);
  }
  put_text(&it, 1, BATCH_OBJECT);
  for (int n = was.row; n < was.row + IN_A_BATCH && n <= COMPANIES; n++) put_message(&it, 2, record(n));
  answer(call, 1, it);
}

static inline void base_stream_close(uint64_t instance, uint64_t number) {
  pthread_mutex_lock(&lock);
  for (int i = 0; i < MOST; i++)
    if (number != 0 && streams[i].number == number && streams[i].instance == instance) streams[i].number = 0;
  pthread_mutex_unlock(&lock);
}

static inline void base_close(uint64_t instance) {
  pthread_mutex_lock(&lock);
  for (int i = 0; i < MOST; i++) {
    if (open_instances[i] == instance) open_instances[i] = 0;
    if (streams[i].instance == instance) streams[i].number = 0;
  }
  pthread_mutex_unlock(&lock);
}

/* For defects ------------------------------------------------------------------------------------------------------- */

static inline void crash(void) { *(volatile int *)0 = 1; }

static inline void hang(void) {
  for (;;) pause();
}

static inline int is(tether_slice request, uint32_t kind) {
  tether_slice message;
  return kind_of(request, &message) == kind;
}

static inline void thread(void *(*work)(void *), void *with) {
  pthread_t thread;
  pthread_create(&thread, NULL, work, with);
  pthread_detach(thread);
}
