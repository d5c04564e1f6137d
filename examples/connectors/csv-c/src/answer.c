#define _POSIX_C_SOURCE 200809L
#include "answer.h"

#include <stdio.h>
#include <string.h>

#include "pb.h"
#include "record.h"
#include "types.h"

/* The version in the manifest; make defines it. */
#ifndef VERSION
#define VERSION "0.0.0"
#endif
/* A column with more distinct values gets no list of values. */
#define MOST_PICKLIST_VALUES 200
#define RELATED_LIMIT 200

static const struct {
  const char *key;
  const char *label;
  int role;
} objects[] = {{company_object, "Companies", ROLE_COMPANY}, {contact_object, "Contacts", ROLE_CONTACT}};

static const struct {
  const char *value;
  const char *label;
  char separator;
} separators[] = {{"comma", "Comma ,", ','}, {"semicolon", "Semicolon ;", ';'}, {"tab", "Tab", '\t'}};

void answer_failure(struct bytes *out, const struct failure *why) { failure_write(out, RESPONSE_ERROR, why); }

/* Without features: a file does not say what changed, and is read to its end anyway, so every sync reads all of it. */
static void describe(struct bytes *out) {
  size_t response = pb_begin(out, CALL_DESCRIBE);
  pb_string(out, 1, "csv");
  pb_string(out, 2, "CSV file");
  pb_string(out, 3, VERSION);
  for (size_t i = 0; i < 2; i++) {
    size_t object = pb_begin(out, 4);
    pb_string(out, 1, objects[i].key);
    pb_string(out, 2, objects[i].label);
    pb_number(out, 3, (uint64_t)objects[i].role);
    pb_end(out, object);
  }
  size_t method = pb_begin(out, 5);
  pb_number(out, 1, AUTH_API_KEY);
  size_t key = pb_begin(out, 2);
  pb_string(out, 1, "api_key");
  pb_string(out, 2, "API key");
  pb_string(out, 3, "A key that the operator has given out.");
  pb_number(out, 5, 1);
  pb_number(out, 6, 1);
  pb_end(out, key);
  pb_end(out, method);
  size_t setting = pb_begin(out, 6);
  pb_string(out, 1, "separator");
  pb_string(out, 2, "Separator");
  pb_string(out, 3, "What stands between the cells of the file.");
  for (size_t i = 0; i < sizeof separators / sizeof *separators; i++) {
    size_t choice = pb_begin(out, 4);
    pb_string(out, 1, separators[i].value);
    pb_string(out, 2, separators[i].label);
    pb_end(out, choice);
  }
  pb_string(out, 7, separators[0].value);
  pb_end(out, setting);
  pb_end(out, response);
}

/* In every message with settings, the map is field 1. */
static bool read_separator(struct text message, char *separator, struct failure *why) {
  struct text chosen = pb_map_get(message, 1, "separator");
  for (size_t i = 0; i < sizeof separators / sizeof *separators; i++) {
    if (text_is(chosen, text_of(separators[i].value)) || (chosen.len == 0 && i == 0)) {
      *separator = separators[i].separator;
      return true;
    }
  }
  fail(why, KIND_INVALID_INPUT, "The setting separator must be comma, semicolon or tab.");
  strcpy(why->field, "separator");
  return false;
}

bool connection_check(struct context *context, struct text connection, char *separator, struct failure *why) {
  char name[KEY_NAME_ROOM];
  struct text key = pb_get_text(pb_get_text(connection, 3), 1);
  return options_check_key(&context->options, key, name, why) && read_separator(connection, separator, why);
}

/* The path of the file is the organization's id, so another file is another organization; the name of the key is the
   user. */
static void identity_write(struct bytes *out, const struct options *options, const char *name) {
  uint64_t hash = UINT64_C(0xcbf29ce484222325);
  for (const char *c = options->file; *c != '\0'; c++) {
    hash = (hash ^ (uint8_t)*c) * UINT64_C(0x100000001b3);
  }
  char id[40];
  snprintf(id, sizeof id, "csv-%016llx", (unsigned long long)hash);
  const char *file = strrchr(options->file, '/') + 1;
  size_t identity = pb_begin(out, 2);
  pb_string(out, 1, id);
  pb_string(out, 2, name);
  pb_string(out, 3, file);
  pb_string(out, 4, name);
  pb_end(out, identity);
}

static bool log_in(struct context *context, struct text request, struct bytes *out, struct failure *why) {
  char separator, name[KEY_NAME_ROOM];
  if (pb_get_number(request, 2) != AUTH_API_KEY) {
    return fail(why, KIND_UNSUPPORTED, "This connector takes API keys only.");
  }
  if (!read_separator(request, &separator, why)) {
    return false;
  }
  struct text key = pb_map_get(request, 3, "api_key");
  if (!options_check_key(&context->options, key, name, why)) {
    if (why->kind == KIND_CREDENTIALS_REVOKED) {
      why->kind = KIND_INVALID_INPUT;
      strcpy(why->field, "api_key");
    }
    return false;
  }
  size_t response = pb_begin(out, RESPONSE_LOGGED_IN);
  size_t credentials = pb_begin(out, 1);
  pb_text(out, 1, key);
  pb_end(out, credentials);
  identity_write(out, &context->options, name);
  pb_string(out, 4, "read");
  pb_end(out, response);
  return true;
}

/* A key does not expire, so a valid one is returned unchanged. */
static bool refresh(struct context *context, struct text request, struct bytes *out, struct failure *why) {
  char separator;
  struct text connection = pb_get_text(request, 1);
  if (!connection_check(context, connection, &separator, why)) {
    return false;
  }
  size_t response = pb_begin(out, CALL_REFRESH);
  pb_text(out, 1, pb_get_text(connection, 3));
  pb_end(out, response);
  return true;
}

/* Whether an object is among the strings of a field; returns `none` if the field has no strings. */
static bool is_asked(struct text request, uint32_t number, const char *object, bool none) {
  struct pb_reader reader = pb_reader_of(request);
  struct pb_field field;
  bool any = false;
  while (pb_next(&reader, &field)) {
    if (field.number == number) {
      any = true;
      if (text_is(field.text, text_of(object))) {
        return true;
      }
    }
  }
  return !any && none;
}

static void picklist_write(struct bytes *out, const struct table *table, size_t column) {
  struct text values[MOST_PICKLIST_VALUES];
  size_t count = 0;
  for (size_t i = 0; i < table->row_count; i++) {
    struct text cell = table_cell(table, table->by_id[i], column);
    size_t at = 0;
    while (at < count && !text_is(values[at], cell)) {
      at++;
    }
    if (cell.len == 0 || at < count) {
      continue;
    }
    if (count == MOST_PICKLIST_VALUES) {
      return;
    }
    values[count++] = cell;
  }
  for (size_t i = 0; i < count; i++) {
    size_t value = pb_begin(out, 4);
    pb_text(out, 1, values[i]);
    pb_text(out, 2, values[i]);
    pb_number(out, 3, 1);
    pb_end(out, value);
  }
}

static void field_write(struct bytes *out, const struct table *table, size_t column) {
  const struct column *of = &table->columns[column];
  size_t field = pb_begin(out, 4);
  pb_text(out, 1, of->key);
  pb_text(out, 2, of->key);
  pb_number(out, 3, (uint64_t)of->type);
  if (of->type == TYPE_PICKLIST) {
    picklist_write(out, table, column);
  }
  pb_string(out, 13, type_word(of->type));
  pb_end(out, field);
}

static bool list_fields(struct context *context, struct text request, struct stop stop, struct bytes *out,
                        struct failure *why) {
  char separator;
  if (!connection_check(context, pb_get_text(request, 1), &separator, why)) {
    return false;
  }
  size_t response = pb_begin(out, CALL_LIST_FIELDS);
  for (size_t i = 0; i < 2; i++) {
    if (!is_asked(request, 2, objects[i].key, true)) {
      continue;
    }
    struct table *table = store_get(&context->store, i == 1, separator, stop, why);
    if (table == NULL && why->kind != KIND_OBJECT_GONE) {
      return false;
    }
    size_t object = pb_begin(out, 1);
    pb_string(out, 1, objects[i].key);
    pb_string(out, 2, objects[i].label);
    pb_number(out, 3, table != NULL);
    for (size_t column = 0; table != NULL && column < table->column_count; column++) {
      field_write(out, table, column);
    }
    pb_end(out, object);
    store_give_back(&context->store, table);
  }
  pb_end(out, response);
  return true;
}

static bool count_records(struct context *context, struct text request, struct stop stop, struct bytes *out,
                          struct failure *why) {
  char separator;
  if (!connection_check(context, pb_get_text(request, 1), &separator, why)) {
    return false;
  }
  size_t response = pb_begin(out, CALL_COUNT_RECORDS);
  for (size_t i = 0; i < 2; i++) {
    if (!is_asked(request, 2, objects[i].key, false)) {
      continue;
    }
    struct table *table = store_get(&context->store, i == 1, separator, stop, why);
    if (table == NULL) {
      if (why->kind != KIND_OBJECT_GONE) {
        return false;
      }
      continue;
    }
    size_t count = pb_begin(out, 1);
    pb_string(out, 1, objects[i].key);
    pb_number(out, 2, table->row_count);
    pb_number(out, 3, 1);
    pb_end(out, count);
    store_give_back(&context->store, table);
  }
  pb_end(out, response);
  return true;
}

/* The records of one object of a fetch. */
static void fetched_write(struct bytes *out, const struct table *table, struct text request,
                          const struct selection *selection) {
  uint64_t limit = pb_get_number(request, 4), given = 0;
  limit = limit == 0 ? RELATED_LIMIT : limit;
  bool more = false;
  struct pb_reader reader = pb_reader_of(request);
  struct pb_field field;
  while (pb_next(&reader, &field)) {
    if (field.number != 2) {
      continue;
    }
    size_t place;
    if (table->company != NO_COLUMN) {
      for (place = table_company(table, field.text); place < table->row_count; place++) {
        size_t row = table->by_company[place];
        if (!text_is(table_cell(table, row, table->company), field.text)) {
          break;
        }
        if (given == limit) {
          more = true;
          break;
        }
        record_write(out, 2, table, row, selection, false);
        given++;
      }
    } else if (table_find(table, field.text, &place)) {
      record_write(out, 2, table, table->by_id[place], selection, false);
    } else {
      size_t record = pb_begin(out, 2);
      pb_text(out, 1, field.text);
      pb_number(out, 4, 1);
      pb_end(out, record);
    }
  }
  pb_number(out, 3, more);
  for (size_t i = 0; i < selection->count; i++) {
    if (selection->fields[i].column == NO_COLUMN) {
      pb_text(out, 5, selection->fields[i].key);
    }
  }
}

static bool fetch_object(struct context *context, struct text request, struct text asked, char separator,
                         struct stop stop, struct bytes *out, struct failure *why) {
  struct text object = pb_get_text(asked, 1);
  bool contacts = text_is(object, text_of(contact_object));
  struct table *table = NULL;
  struct selection selection = {NULL, 0};
  if (!contacts && !text_is(object, text_of(company_object))) {
    fail(why, KIND_OBJECT_GONE, "There is no such object in a CSV file.");
  } else {
    table = store_get(&context->store, contacts, separator, stop, why);
  }
  bool stopped = table == NULL && (why->kind == KIND_CANCELLED || why->kind == KIND_DEADLINE_EXCEEDED);
  if (stopped || (table != NULL && !selection_read(&selection, asked, table, why))) {
    store_give_back(&context->store, table);
    return false;
  }
  size_t result = pb_begin(out, 1);
  pb_text(out, 1, object);
  if (table == NULL) {
    failure_write(out, 4, why);
  } else {
    fetched_write(out, table, request, &selection);
  }
  pb_end(out, result);
  selection_free(&selection);
  store_give_back(&context->store, table);
  return true;
}

static bool fetch_company(struct context *context, struct text request, struct stop stop, struct bytes *out,
                          struct failure *why) {
  char separator;
  if (!connection_check(context, pb_get_text(request, 1), &separator, why)) {
    return false;
  }
  int64_t read_us = context->now_us();
  size_t response = pb_begin(out, CALL_FETCH_COMPANY);
  struct pb_reader reader = pb_reader_of(request);
  struct pb_field field;
  while (pb_next(&reader, &field)) {
    if (field.number == 3 && !fetch_object(context, request, field.text, separator, stop, out, why)) {
      return false;
    }
  }
  pb_number(out, 3, (uint64_t)read_us);
  pb_end(out, response);
  return true;
}

void answer_call(struct context *context, uint32_t call, struct text request, struct stop stop, struct bytes *out) {
  struct failure why;
  bool done;
  switch (call) {
  case CALL_DESCRIBE:
    describe(out);
    done = true;
    break;
  case CALL_LOG_IN:
    done = log_in(context, request, out, &why);
    break;
  case CALL_REFRESH:
    done = refresh(context, request, out, &why);
    break;
  case CALL_LIST_FIELDS:
    done = list_fields(context, request, stop, out, &why);
    break;
  case CALL_COUNT_RECORDS:
    done = count_records(context, request, stop, out, &why);
    break;
  case CALL_FETCH_COMPANY:
    done = fetch_company(context, request, stop, out, &why);
    break;
  case CALL_REVOKE:
    done = fail(&why, KIND_UNSUPPORTED, "Keys are the operator's to take back.");
    break;
  case CALL_BEGIN_AUTHORIZATION:
  case CALL_EXCHANGE_CODE:
    done = fail(&why, KIND_UNSUPPORTED, "This connector takes API keys only.");
    break;
  case CALL_PROVIDE_CREDENTIALS:
    done = fail(&why, KIND_INVALID_INPUT, "No stream of this connector waits for credentials.");
    break;
  default:
    done = fail(&why, KIND_UNSUPPORTED, "This connector does not know the call.");
  }
  if (!done) {
    /* A part of the answer may have been written. */
    out->len = 0;
    answer_failure(out, &why);
  }
}
