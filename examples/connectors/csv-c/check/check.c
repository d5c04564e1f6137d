/* Checks of the connector through its one symbol, as a host would use it. Run by `make check`. */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "contract.h"
#include "host.h"
#include "pb.h"
#include "types.h"
#include "value.h"

static char folder[] = "/tmp/tether-csv-XXXXXX";
static char companies[64], contacts[64], keys[64];

static void write_file(const char *path, const char *text) {
  char new[80];
  snprintf(new, sizeof new, "%s.new", path);
  FILE *file = fopen(new, "w");
  CHECK(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0);
  CHECK(rename(new, path) == 0);
}

static struct bytes bytes_of_string(const char *string) {
  struct bytes bytes = {0};
  bytes_string(&bytes, string);
  return bytes;
}

static bool bytes_is(const struct bytes *bytes, const char *string) {
  struct text text = {(const char *)bytes->data, bytes->len};
  return text_is(text, text_of(string));
}

static uint64_t open_usual(void) {
  const char *settings[] = {"file", companies, "contacts_file", contacts, "keys_file", keys, NULL};
  int kind;
  uint64_t instance = host_open(settings, &kind);
  CHECK(instance != 0);
  return instance;
}

/* A Connection of a key. */
static void connection(struct bytes *out, const char *key) {
  size_t connection = pb_begin(out, 1), credentials = pb_begin(out, 3);
  pb_string(out, 1, key);
  pb_end(out, credentials);
  pb_end(out, connection);
}

/* An ObjectSelection: fields of `key:type`, ended by null. */
static void selection(struct bytes *out, uint32_t field, const char *object, const char *const *fields) {
  size_t selection = pb_begin(out, field);
  pb_string(out, 1, object);
  for (; *fields != NULL; fields++) {
    const char *colon = strchr(*fields, ':');
    struct text key = {*fields, (size_t)(colon - *fields)};
    size_t one = pb_begin(out, 2);
    pb_text(out, 1, key);
    pb_number(out, 2, (uint64_t)type_of_word(text_of(colon + 1)));
    pb_end(out, one);
  }
  pb_end(out, selection);
}

static const char good_key[] = "key-0123456789abcdef";
static const char *const company_fields[] = {"name:text",   "employees:integer", "revenue:currency", "founded:date",
                                             "notes:text", "zip:text",          NULL};
static const char *const contact_fields[] = {"email:email", NULL};

static void values_have_one_form(void) {
  static const struct {
    int type;
    const char *cell, *json;
  } cases[] = {
      {TYPE_TEXT, "a\"\\\x01\n\xc3\xa9", "\"a\\\"\\\\\\u0001\\n\xc3\xa9\""},
      {TYPE_BOOLEAN, "TRUE", "true"},
      {TYPE_BOOLEAN, "yes", "{\"raw\":\"yes\"}"},
      {TYPE_INTEGER, "007", "7"},
      {TYPE_INTEGER, "-9223372036854775808", "-9223372036854775808"},
      {TYPE_INTEGER, "1.5E1", "15"},
      {TYPE_INTEGER, "9223372036854775808", "{\"raw\":\"9223372036854775808\"}"},
      {TYPE_INTEGER, "1.5", "{\"raw\":\"1.5\"}"},
      {TYPE_DECIMAL, "0.0", "\"0\""},
      {TYPE_DECIMAL, "-0.00E5", "\"0\""},
      {TYPE_DECIMAL, "+012.3400", "\"12.34\""},
      {TYPE_DECIMAL, ".5", "\"0.5\""},
      {TYPE_DECIMAL, "12.5E-3", "\"0.0125\""},
      {TYPE_DECIMAL, "0.00125e2", "\"0.125\""},
      {TYPE_CURRENCY, "1.0E10", "\"10000000000\""},
      {TYPE_CURRENCY, "1E999999", "{\"raw\":\"1E999999\"}"},
      {TYPE_PERCENT, "12,5", "{\"raw\":\"12,5\"}"},
      {TYPE_DATE, "2024-02-29", "\"2024-02-29\""},
      {TYPE_DATE, "2024-02-29T00:00:00.000Z", "\"2024-02-29\""},
      {TYPE_DATE, "2023-02-29", "{\"raw\":\"2023-02-29\"}"},
      {TYPE_TIMESTAMP, "2011-07-07T02:37:00+02:00", "\"2011-07-07T00:37:00.000Z\""},
      {TYPE_TIMESTAMP, "2011-07-07 00:37:00", "\"2011-07-07T00:37:00.000Z\""},
      {TYPE_TIMESTAMP, "1969-12-31T23:59:59.9996Z", "\"1969-12-31T23:59:59.999Z\""},
      {TYPE_TIMESTAMP, "soon", "{\"raw\":\"soon\"}"},
      {TYPE_TIME, "09:30", "\"09:30:00.000\""},
      {99, "x", "{\"raw\":\"x\"}"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct bytes out = {0};
    json_value(&out, cases[i].type, text_of(cases[i].cell));
    if (!bytes_is(&out, cases[i].json)) {
      fprintf(stderr, "%s became %.*s\n", cases[i].cell, (int)out.len, (const char *)out.data);
      abort();
    }
    bytes_free(&out);
  }
}

static void settings_are_checked(void) {
  static const char *const wrong[][7] = {
      {NULL},
      {"file", "/tmp/x.csv", NULL},
      {"file", "x.csv", "api_key", good_key, NULL},
      {"file", "/tmp/x.csv", "api_key", "short", NULL},
      {"file", "/tmp/x.csv", "api_key", good_key, "keys_file", "/tmp/keys", NULL},
  };
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    int kind;
    CHECK(host_open(wrong[i], &kind) == 0 && kind == KIND_CONFIGURATION);
  }
}

static void log_in(uint64_t instance) {
  const char *given[] = {good_key, "key-of-nobody-0123", ""};
  for (size_t i = 0; i < 3; i++) {
    struct bytes request = {0};
    pb_number(&request, 2, AUTH_API_KEY);
    size_t entry = pb_begin(&request, 3);
    pb_string(&request, 1, "api_key");
    pb_string(&request, 2, given[i]);
    pb_end(&request, entry);
    struct bytes answer = host_call(instance, CALL_LOG_IN, &request, 0);
    struct text message;
    if (i == 0) {
      CHECK(member(&answer, &message) == RESPONSE_LOGGED_IN);
      struct text identity = pb_get_text(message, 2);
      CHECK(pb_get_text(identity, 1).len == 20 && text_is(pb_get_text(identity, 2), text_of("ann")));
      CHECK(text_is(pb_get_text(pb_get_text(message, 1), 1), text_of(good_key)));
    } else {
      CHECK(error_kind(&answer) == KIND_INVALID_INPUT);
      member(&answer, &message);
      CHECK(text_is(pb_get_text(message, 5), text_of("api_key")));
    }
    bytes_free(&answer);
    bytes_free(&request);
  }
}

/* The type of a field, of an answer to ListFields; 0 where it is not listed. */
static int type_in(struct text message, const char *object, const char *key) {
  struct pb_reader reader = pb_reader_of(message);
  struct pb_field one, field;
  while (pb_next(&reader, &one)) {
    if (!text_is(pb_get_text(one.text, 1), text_of(object))) {
      continue;
    }
    struct pb_reader fields = pb_reader_of(one.text);
    while (pb_next(&fields, &field)) {
      if (field.number == 4 && text_is(pb_get_text(field.text, 1), text_of(key))) {
        return (int)pb_get_number(field.text, 3);
      }
    }
  }
  return 0;
}

static void fields_and_counts(uint64_t instance) {
  struct bytes request = {0};
  connection(&request, good_key);
  struct bytes answer = host_call(instance, CALL_LIST_FIELDS, &request, 0);
  struct text message;
  CHECK(member(&answer, &message) == CALL_LIST_FIELDS);
  CHECK(type_in(message, "company", "id") == TYPE_TEXT);
  CHECK(type_in(message, "company", "employees") == TYPE_INTEGER);
  CHECK(type_in(message, "company", "revenue") == TYPE_CURRENCY);
  CHECK(type_in(message, "company", "founded") == TYPE_DATE);
  CHECK(type_in(message, "company", "zip") == TYPE_TEXT);
  CHECK(type_in(message, "company", "website") == TYPE_URL);
  CHECK(type_in(message, "contact", "email") == TYPE_EMAIL);
  bytes_free(&answer);

  pb_string(&request, 2, "contact");
  pb_string(&request, 2, "company");
  pb_string(&request, 2, "unicorn");
  answer = host_call(instance, CALL_COUNT_RECORDS, &request, 0);
  CHECK(member(&answer, &message) == CALL_COUNT_RECORDS);
  struct pb_reader reader = pb_reader_of(message);
  struct pb_field count;
  uint64_t counts[2] = {0, 0};
  for (size_t i = 0; pb_next(&reader, &count); i++) {
    CHECK(i < 2);
    counts[i] = pb_get_number(count.text, 2);
  }
  CHECK(counts[0] == 25 && counts[1] == 50);
  bytes_free(&answer);
  bytes_free(&request);
}

static void fetch(uint64_t instance) {
  static const char *const fields[] = {"name:text", "gone:text", NULL};
  struct bytes request = {0};
  connection(&request, good_key);
  pb_string(&request, 2, "c07");
  pb_string(&request, 2, "nobody");
  selection(&request, 3, "company", fields);
  selection(&request, 3, "contact", contact_fields);
  selection(&request, 3, "unicorn", contact_fields);
  pb_number(&request, 4, 1);
  struct bytes answer = host_call(instance, CALL_FETCH_COMPANY, &request, 0);
  struct text message, results[3], records[2];
  CHECK(member(&answer, &message) == CALL_FETCH_COMPANY);
  struct pb_reader reader = pb_reader_of(message);
  struct pb_field field;
  size_t count = 0;
  while (pb_next(&reader, &field)) {
    if (field.number == 1) {
      CHECK(count < 3);
      results[count++] = field.text;
    }
  }
  CHECK(count == 3);
  count = 0;
  reader = pb_reader_of(results[0]);
  while (pb_next(&reader, &field)) {
    if (field.number == 2) {
      CHECK(count < 2);
      records[count++] = field.text;
    }
  }
  CHECK(count == 2);
  CHECK(text_is(pb_get_text(records[0], 2), text_of("{\"name\":\"Company \\\"7\\\",\\nInc\"}")));
  CHECK(text_is(pb_get_text(records[0], 8), text_of("https://c7.example")));
  CHECK(pb_get_number(records[1], 4) == 1 && text_is(pb_get_text(records[1], 1), text_of("nobody")));
  CHECK(text_is(pb_get_text(results[0], 5), text_of("gone")));
  /* Two contacts hang under it, one was asked for. */
  CHECK(pb_get_number(results[1], 3) == 1);
  CHECK(text_is(pb_get_text(pb_get_text(pb_get_text(results[1], 2), 6), 2), text_of("c07")));
  CHECK(pb_get_number(pb_get_text(results[2], 4), 1) == KIND_OBJECT_GONE);
  bytes_free(&answer);
  bytes_free(&request);
}

static uint64_t open_stream(uint64_t instance, struct text checkpoint) {
  struct bytes request = {0};
  connection(&request, good_key);
  selection(&request, 2, "company", company_fields);
  selection(&request, 2, "contact", contact_fields);
  pb_number(&request, 3, 1);
  pb_text(&request, 4, checkpoint);
  struct bytes answer = host_call(instance, CALL_READ, &request, 0);
  struct text message;
  CHECK(member(&answer, &message) == CALL_READ);
  uint64_t stream = pb_get_number(message, 1);
  CHECK(stream != 0);
  bytes_free(&answer);
  bytes_free(&request);
  return stream;
}

/* What was read: lines of `object id payload`, and the last checkpoint. */
struct found {
  struct bytes rows;
  struct bytes checkpoint;
  size_t checkpoints;
  bool ended;
};

/* Reads so many checkpoints further. */
static void read_on(uint64_t instance, struct found *found, size_t most_checkpoints) {
  struct text from = {(const char *)found->checkpoint.data, found->checkpoint.len};
  uint64_t stream = open_stream(instance, from);
  struct bytes unsaved = {0};
  for (size_t here = 0; here < most_checkpoints && !found->ended;) {
    struct bytes event = host_pull(instance, stream);
    struct text message;
    switch (member(&event, &message)) {
    case EVENT_BATCH: {
      struct pb_reader reader = pb_reader_of(message);
      struct pb_field field;
      while (pb_next(&reader, &field)) {
        if (field.number == 2) {
          struct text object = pb_get_text(message, 1), id = pb_get_text(field.text, 1),
                      payload = pb_get_text(field.text, 2);
          bytes_put(&unsaved, object.data, object.len);
          bytes_byte(&unsaved, ' ');
          bytes_put(&unsaved, id.data, id.len);
          bytes_byte(&unsaved, ' ');
          bytes_put(&unsaved, payload.data, payload.len);
          bytes_byte(&unsaved, '\n');
        }
      }
      break;
    }
    case EVENT_CHECKPOINT: {
      struct text state = pb_get_text(message, 2);
      CHECK(pb_get_number(message, 1) == ++here);
      bytes_put(&found->rows, unsaved.data, unsaved.len);
      unsaved.len = 0;
      found->checkpoint.len = 0;
      bytes_put(&found->checkpoint, state.data, state.len);
      found->checkpoints++;
      break;
    }
    case EVENT_END:
      found->ended = true;
      break;
    case EVENT_ERROR:
    case EVENT_FIELD_CHANGE:
      CHECK(!"an event that does not belong here");
      break;
    default:
      break;
    }
    bytes_free(&event);
  }
  if (found->ended) {
    struct bytes event = host_pull(instance, stream);
    CHECK(error_kind(&event) == KIND_CANCELLED);
    bytes_free(&event);
  }
  api.stream_close(instance, stream);
  api.stream_close(instance, stream);
  bytes_free(&unsaved);
}

static void found_free(struct found *found) {
  bytes_free(&found->rows);
  bytes_free(&found->checkpoint);
}

static void resumed_at_every_checkpoint_it_is_the_same(void) {
  struct found whole = {0}, pieces = {0};
  uint64_t instance = open_usual();
  read_on(instance, &whole, SIZE_MAX);
  api.close(instance);
  CHECK(whole.ended && whole.checkpoints == 4 + 8);
  while (!pieces.ended) {
    /* Another instance each time: nothing may be left in one. */
    instance = open_usual();
    read_on(instance, &pieces, 1);
    api.close(instance);
  }
  CHECK(whole.rows.len == pieces.rows.len && memcmp(whole.rows.data, pieces.rows.data, whole.rows.len) == 0);
  found_free(&whole);
  found_free(&pieces);
}

/* 25 companies, the last one first; 50 contacts, two of each company. */
static void write_usual(const char *name) {
  struct bytes text = bytes_of_string("\xef\xbb\xbfid,name,website,employees,revenue:currency,founded,notes,zip\r\n");
  char line[200];
  for (int i = 24; i >= 0; i--) {
    snprintf(line, sizeof line, "c%02d,\"%s \"\"%d\"\",\nInc\",https://c%d.example,%d,%d.50,20%02d-01-31,%s,0%04d\r\n", i,
             name, i, i, i * 10, i, i, i % 2 == 0 ? "" : "a; b", i);
    bytes_string(&text, line);
  }
  bytes_byte(&text, 0);
  write_file(companies, (const char *)text.data);
  bytes_free(&text);
  text = bytes_of_string("id,company_id,name,email\n");
  for (int i = 0; i < 50; i++) {
    snprintf(line, sizeof line, "p%02d,c%02d,Person %d,p%d@c.example\n", i, i % 25, i, i);
    bytes_string(&text, line);
  }
  bytes_byte(&text, 0);
  write_file(contacts, (const char *)text.data);
  bytes_free(&text);
}

static void another_file_begins_again(uint64_t instance) {
  struct found whole = {0}, resumed = {0};
  read_on(instance, &resumed, 2);
  resumed.rows.len = 0;
  write_usual("Renamed");
  read_on(instance, &resumed, SIZE_MAX);
  read_on(instance, &whole, SIZE_MAX);
  CHECK(whole.rows.len == resumed.rows.len && memcmp(whole.rows.data, resumed.rows.data, whole.rows.len) == 0);
  CHECK(strstr((const char *)whole.rows.data, "Renamed") != NULL);
  found_free(&whole);
  found_free(&resumed);
  write_usual("Company");
}

/* What a read of a file of companies ends with: the kind of its error, 0 for none. */
static int read_kind(uint64_t instance, const char *text, char *why, size_t room) {
  write_file(companies, text);
  struct text none = {"", 0};
  uint64_t stream = open_stream(instance, none);
  int kind = 0;
  for (bool last = false; !last;) {
    struct bytes event = host_pull(instance, stream);
    struct text message;
    uint32_t number = member(&event, &message);
    last = number == EVENT_END || number == EVENT_ERROR;
    if (number == EVENT_ERROR) {
      kind = error_kind(&event);
      struct text said = pb_get_text(message, 2);
      snprintf(why, room, "%.*s", (int)said.len, said.data);
    }
    bytes_free(&event);
  }
  api.stream_close(instance, stream);
  return kind;
}

static void broken_files_say_where(uint64_t instance) {
  static const struct {
    const char *text, *says;
  } cases[] = {
      {"", "empty"},
      {"name\nAcme\n", "no column id"},
      {"id,id\n1,2\n", "twice"},
      {"id,,x\n1,2,3\n", "Column 2"},
      {"id,name\n1,Acme\n2\n", "Line 3 of the file has 1 cells"},
      {"id,name\n1,Acme\n,Other\n", "Line 3 of the file has no id"},
      {"id,name\n1,Acme\n1,Other\n", "rows 1 and 2"},
      {"id,name\n1,\"Acme\n2,b\n", "opened in line 2"},
      {"id,name\n1,\"Acme\" b\n", "Line 2 of the file has text behind"},
      {"id,name\n1,Ac\xffme\n", "Line 2 of the file is not UTF-8"},
      {"id,name\n1,\xc0\xaf\n", "Line 2 of the file is not UTF-8"},
  };
  char why[400];
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    int kind = read_kind(instance, cases[i].text, why, sizeof why);
    if (kind != KIND_ADMIN_ACTION || strstr(why, cases[i].says) == NULL) {
      fprintf(stderr, "%s: %d %s\n", cases[i].says, kind, why);
      abort();
    }
  }
  CHECK(read_kind(instance, "id,name\n\n1,Acme\r\n\r\n2,\"\"", why, sizeof why) == 0);
  CHECK(read_kind(instance, "id\n", why, sizeof why) == 0);
  write_usual("Company");
}

static void fields_that_changed_are_told(uint64_t instance) {
  write_file(companies, "id,name,employees\n1,Acme,many\n");
  struct text none = {"", 0};
  uint64_t stream = open_stream(instance, none);
  struct bytes told = {0};
  for (int i = 0; i < 5; i++) {
    struct bytes event = host_pull(instance, stream);
    struct text message;
    CHECK(member(&event, &message) == EVENT_FIELD_CHANGE);
    struct text field = pb_get_text(message, 2);
    bytes_put(&told, field.data, field.len);
    bytes_byte(&told, pb_get_number(message, 3) == FIELD_MISSING ? '-' : '~');
    bytes_free(&event);
  }
  CHECK(bytes_is(&told, "employees~founded-notes-revenue-zip-"));
  bytes_free(&told);
  struct bytes event = host_pull(instance, stream);
  bytes_free(&event);
  event = host_pull(instance, stream);
  struct text message;
  CHECK(member(&event, &message) == EVENT_BATCH);
  CHECK(text_is(pb_get_text(pb_get_text(message, 2), 2), text_of("{\"employees\":\"many\",\"name\":\"Acme\"}")));
  bytes_free(&event);
  api.stream_close(instance, stream);
  write_usual("Company");
}

static void a_key_that_is_taken_back_is_dead(uint64_t instance) {
  struct bytes request = {0};
  connection(&request, good_key);
  write_file(keys, "bob key-of-bob-0123456789\n");
  struct bytes answer = host_call(instance, CALL_LIST_FIELDS, &request, 0);
  CHECK(error_kind(&answer) == KIND_CREDENTIALS_REVOKED);
  bytes_free(&answer);
  struct text none = {"", 0};
  uint64_t stream = open_stream(instance, none);
  answer = host_pull(instance, stream);
  CHECK(error_kind(&answer) == KIND_CREDENTIALS_REVOKED);
  bytes_free(&answer);
  bytes_free(&request);
  write_file(keys, "# the keys\nbob key-of-bob-0123456789\nann\tkey-0123456789abcdef\r\n");
}

static void numbers_and_bytes_of_nobody_are_harmless(uint64_t instance) {
  struct bytes nothing = {0};
  const uint64_t wrong[] = {0, instance + 1000, UINT64_MAX};
  for (size_t i = 0; i < 3; i++) {
    struct bytes answer = host_call(wrong[i], CALL_DESCRIBE, &nothing, 0);
    CHECK(error_kind(&answer) == KIND_CANCELLED);
    bytes_free(&answer);
    answer = host_pull(wrong[i], 1);
    CHECK(error_kind(&answer) == KIND_CANCELLED);
    bytes_free(&answer);
    answer = host_pull(instance, wrong[i]);
    CHECK(error_kind(&answer) == KIND_CANCELLED);
    bytes_free(&answer);
    api.cancel(wrong[i], 1);
    api.cancel(instance, wrong[i]);
    api.stream_close(wrong[i], 1);
    api.stream_close(instance, wrong[i]);
    api.close(wrong[i]);
  }
  struct bytes answer = host_call(instance, 99, &nothing, 0);
  CHECK(error_kind(&answer) == KIND_UNSUPPORTED);
  bytes_free(&answer);
  /* What a later contract adds to a known call is ignored. */
  struct bytes newer = host_request(CALL_DESCRIBE, &nothing, 0);
  pb_string(&newer, 99, "later");
  tether_slice newer_slice = {newer.data, newer.len};
  uint64_t newer_call = host_number();
  api.call(instance, newer_call, newer_slice);
  answer = host_wait(newer_call);
  struct text described;
  CHECK(member(&answer, &described) == CALL_DESCRIBE && pb_get_text(described, 1).len == 3);
  bytes_free(&answer);
  bytes_free(&newer);
  answer = host_call(instance, CALL_DESCRIBE, &nothing, 1);
  CHECK(error_kind(&answer) == KIND_DEADLINE_EXCEEDED);
  bytes_free(&answer);

  /* Requests with one byte changed, and cut: whatever they are, they have an answer. */
  struct bytes request = {0};
  connection(&request, good_key);
  pb_string(&request, 2, "c07");
  selection(&request, 3, "company", company_fields);
  struct bytes call = host_request(CALL_FETCH_COMPANY, &request, 0);
  unsigned random = 1;
  for (size_t i = 0; i < 4000; i++) {
    random = random * 1103515245u + 12345u;
    size_t at = (random >> 8) % call.len, len = i % 2 == 0 ? call.len : at;
    uint8_t before = call.data[at];
    call.data[at] = (uint8_t)(random >> 24);
    /* A copy of its own size, so that a read beyond it is seen. */
    uint8_t *copy = malloc(len == 0 ? 1 : len);
    memcpy(copy, call.data, len);
    tether_slice slice = {copy, len};
    uint64_t number = host_number();
    api.call(instance, number, slice);
    free(copy);
    answer = host_wait(number);
    bytes_free(&answer);
    call.data[at] = before;
  }
  bytes_free(&call);
  bytes_free(&request);
}

static void one_pull_at_a_time(uint64_t instance) {
  struct text none = {"", 0};
  tether_slice nothing = {NULL, 0};
  for (int i = 0; i < 50; i++) {
    uint64_t stream = open_stream(instance, none), pulls[4];
    for (int j = 0; j < 4; j++) {
      pulls[j] = host_number();
      api.stream_next(instance, pulls[j], stream, nothing);
      api.cancel(instance, pulls[j]);
      api.cancel(instance, pulls[j]);
    }
    api.stream_close(instance, stream);
    for (int j = 0; j < 4; j++) {
      struct bytes answer = host_wait(pulls[j]);
      int kind = error_kind(&answer);
      CHECK(kind == 0 || kind == KIND_BUG || kind == KIND_CANCELLED);
      bytes_free(&answer);
    }
  }
}

/* Cancelling each pull before it is answered loses nothing. */
static void a_cancelled_pull_loses_no_event(uint64_t instance) {
  struct text none = {"", 0};
  tether_slice nothing = {NULL, 0};
  size_t events[2] = {0, 0};
  for (int cancelling = 0; cancelling < 2; cancelling++) {
    uint64_t stream = open_stream(instance, none);
    for (bool last = false; !last;) {
      uint64_t pull = host_number();
      api.stream_next(instance, pull, stream, nothing);
      if (cancelling && pull % 2 == 0) {
        api.cancel(instance, pull);
      }
      struct bytes event = host_wait(pull);
      struct text message;
      uint32_t number = member(&event, &message);
      if (number == EVENT_ERROR) {
        CHECK(cancelling && error_kind(&event) == KIND_CANCELLED);
      } else {
        events[cancelling]++;
      }
      last = number == EVENT_END;
      bytes_free(&event);
    }
    api.stream_close(instance, stream);
  }
  CHECK(events[0] == events[1]);
}

static void *call_much(void *of) {
  uint64_t instance = *(uint64_t *)of;
  struct bytes request = {0};
  connection(&request, good_key);
  for (int i = 0; i < 200; i++) {
    struct bytes answer = host_call(instance, CALL_LIST_FIELDS, &request, 0);
    int kind = error_kind(&answer);
    CHECK(kind == 0 || kind == KIND_CANCELLED);
    bytes_free(&answer);
  }
  bytes_free(&request);
  return NULL;
}

static void closing_answers_what_is_open(void) {
  for (int round = 0; round < 20; round++) {
    uint64_t instance = open_usual();
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) {
      CHECK(pthread_create(&threads[i], NULL, call_much, &instance) == 0);
    }
    struct bytes nothing = {0}, request = host_request(CALL_DESCRIBE, &nothing, 0);
    tether_slice slice = {request.data, request.len};
    uint64_t calls[100];
    for (int i = 0; i < 100; i++) {
      calls[i] = host_number();
      api.call(instance, calls[i], slice);
    }
    api.close(instance);
    for (int i = 0; i < 100; i++) {
      CHECK(host_has(calls[i]));
      struct bytes answer = host_wait(calls[i]);
      bytes_free(&answer);
    }
    for (int i = 0; i < 3; i++) {
      pthread_join(threads[i], NULL);
    }
    api.close(instance);
    bytes_free(&request);
  }
}

static void opened_and_closed_a_thousand_times(void) {
  for (int i = 0; i < 1000; i++) {
    uint64_t instance = open_usual();
    struct text none = {"", 0};
    open_stream(instance, none);
    api.close(instance);
  }
}

int main(void) {
  CHECK(mkdtemp(folder) != NULL);
  snprintf(companies, sizeof companies, "%s/companies.csv", folder);
  snprintf(contacts, sizeof contacts, "%s/contacts.csv", folder);
  snprintf(keys, sizeof keys, "%s/keys", folder);
  write_usual("Company");
  write_file(keys, "# the keys\nbob key-of-bob-0123456789\nann\tkey-0123456789abcdef\r\n");

  host_begin();
  values_have_one_form();
  settings_are_checked();
  uint64_t instance = open_usual();
  log_in(instance);
  fields_and_counts(instance);
  fetch(instance);
  another_file_begins_again(instance);
  broken_files_say_where(instance);
  fields_that_changed_are_told(instance);
  a_key_that_is_taken_back_is_dead(instance);
  numbers_and_bytes_of_nobody_are_harmless(instance);
  one_pull_at_a_time(instance);
  a_cancelled_pull_loses_no_event(instance);
  api.close(instance);
  resumed_at_every_checkpoint_it_is_the_same();
  closing_answers_what_is_open();
  opened_and_closed_a_thousand_times();

  remove(companies);
  remove(contacts);
  remove(keys);
  remove(folder);
  puts("all good");
  return 0;
}
