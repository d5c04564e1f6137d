#define _POSIX_C_SOURCE 200809L
#include "stream.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pb.h"

/* A batch ends at the first of these limits; a checkpoint follows each batch. */
#ifndef BATCH_ROWS
#define BATCH_ROWS 2000
#endif
#define BATCH_BYTES (1u << 20)

enum { OBJECT, ANNOUNCE, PROGRESS, BATCH, CHECKPOINT, STATUS };

struct stream *stream_new(struct text request, int64_t deadline_us) {
  struct stream *stream = calloc(1, sizeof *stream);
  if (stream != NULL) {
    stream->bytes = text_copy(request);
    if (stream->bytes == NULL) {
      free(stream);
      return NULL;
    }
    stream->request.data = stream->bytes;
    stream->request.len = request.len;
    stream->deadline_us = deadline_us;
  }
  return stream;
}

void stream_free(struct stream *stream, struct context *context) {
  for (size_t i = 0; i < 2; i++) {
    store_give_back(&context->store, stream->tables[i]);
  }
  selection_free(&stream->selection);
  /* The request contained a key. */
  volatile char *bytes = stream->bytes;
  for (size_t i = 0; i < stream->request.len; i++) {
    bytes[i] = 0;
  }
  free(stream->bytes);
  free(stream);
}

void stream_failure(struct bytes *out, const struct failure *why) { failure_write(out, EVENT_ERROR, why); }

/* The object at an index of the selection; false after the last one. */
static bool selected_object(const struct stream *stream, size_t place, struct text *found) {
  struct pb_reader reader = pb_reader_of(stream->request);
  struct pb_field field;
  while (pb_next(&reader, &field)) {
    if (field.number == 2 && place-- == 0) {
      *found = field.text;
      return true;
    }
  }
  return false;
}

/* Identifies the contents that a position belongs to. */
static uint64_t identity_of(const struct stream *stream) {
  uint64_t identity = stream->tables[0]->identity;
  return stream->tables[1] == NULL ? identity : identity * 31 + stream->tables[1]->identity;
}

/* The index of an object's table; -1 for an unknown object. */
static int table_of(struct text object) {
  return text_is(object, text_of(company_object)) ? 0 : text_is(object, text_of(contact_object)) ? 1 : -1;
}

/* The state is `1 <identity> <object> <row> <whole>`; any other text, or one of other contents, starts from the
   beginning. */
static void resume(struct stream *stream) {
  struct text state = pb_get_text(stream->request, 4), selected;
  char text[96];
  if (state.len == 0 || state.len >= sizeof text) {
    return;
  }
  memcpy(text, state.data, state.len);
  text[state.len] = '\0';
  uint64_t identity;
  unsigned long object, row;
  int whole, end = 0;
  if (sscanf(text, "1 %" SCNx64 " %lu %lu %d%n", &identity, &object, &row, &whole, &end) != 4 ||
      (size_t)end != state.len || identity != identity_of(stream) || !selected_object(stream, object, &selected)) {
    return;
  }
  int index = table_of(pb_get_text(selected, 1));
  if (index >= 0 && stream->tables[index] != NULL && row <= stream->tables[index]->row_count) {
    stream->position.object = object;
    stream->position.row = row;
    stream->position.whole = whole != 0;
  }
}

/* The first pull: checks the key and takes the current files for the whole stream. */
static bool begin(struct stream *stream, struct context *context, struct stop stop, struct failure *why) {
  char separator;
  if (!connection_check(context, pb_get_text(stream->request, 1), &separator, why)) {
    return false;
  }
  for (size_t i = 0; i < 2; i++) {
    if (stream->tables[i] == NULL) {
      stream->tables[i] = store_get(&context->store, i == 1, separator, stop, why);
    }
    if (stream->tables[i] == NULL) {
      if (i == 0 || why->kind == KIND_CANCELLED || why->kind == KIND_DEADLINE_EXCEEDED) {
        return false;
      }
      stream->reasons[i] = *why;
    }
  }
  resume(stream);
  stream->step = OBJECT;
  stream->begun = true;
  return true;
}

static void status_write(struct bytes *out, struct text object, const struct failure *why) {
  size_t event = pb_begin(out, EVENT_OBJECT_STATUS);
  pb_text(out, 1, object);
  if (why == NULL) {
    pb_number(out, 2, 1);
  } else {
    failure_write(out, 3, why);
  }
  pb_end(out, event);
}

/* Announces the next field that is missing or has another type; returns false after all were announced. */
static bool announce(struct stream *stream, const struct table *table, struct text object, struct bytes *out) {
  while (stream->announced < stream->selection.count) {
    const struct selected *field = &stream->selection.fields[stream->announced++];
    bool missing = field->column == NO_COLUMN;
    if (!missing && table->columns[field->column].type == field->type) {
      continue;
    }
    size_t event = pb_begin(out, EVENT_FIELD_CHANGE);
    pb_text(out, 1, object);
    pb_text(out, 2, field->key);
    pb_number(out, 3, missing ? FIELD_MISSING : FIELD_TYPE_CHANGED);
    if (!missing) {
      pb_number(out, 4, (uint64_t)table->columns[field->column].type);
    }
    pb_end(out, event);
    return true;
  }
  return false;
}

static void batch(struct stream *stream, const struct table *table, struct text object, struct bytes *out) {
  size_t begun = stream->position.row, row = begun;
  size_t event = pb_begin(out, EVENT_BATCH);
  pb_text(out, 1, object);
  while (row < table->row_count && row - begun < BATCH_ROWS && out->len < BATCH_BYTES) {
    record_write(out, 2, table, table->by_id[row++], &stream->selection, true);
  }
  bool whole = row == table->row_count;
  /* Rows are in the order of their ids' bytes, regardless of their order in the file, so all ids of the range are in
     the batch. */
  size_t covers = pb_begin(out, 3);
  if (begun > 0) {
    pb_text(out, 1, table_cell(table, table->by_id[begun - 1], table->id));
  }
  if (!whole) {
    pb_text(out, 2, table_cell(table, table->by_id[row - 1], table->id));
  }
  pb_end(out, covers);
  pb_end(out, event);
  if (!out->failed) {
    stream->position.row = row;
    stream->position.whole = whole;
  }
}

static void checkpoint(struct stream *stream, struct bytes *out) {
  char state[96];
  snprintf(state, sizeof state, "1 %016" PRIx64 " %zu %zu %d", identity_of(stream), stream->position.object,
           stream->position.row, stream->position.whole);
  size_t event = pb_begin(out, EVENT_CHECKPOINT);
  pb_number(out, 1, ++stream->sequence);
  pb_string(out, 2, state);
  pb_end(out, event);
}

/* Writes one event; returns false after a failure that ends the stream. */
static bool make(struct stream *stream, struct bytes *out, struct failure *why) {
  struct text selected, object;
  for (;;) {
    if (!selected_object(stream, stream->position.object, &selected)) {
      pb_end(out, pb_begin(out, EVENT_END));
      stream->ended = true;
      return true;
    }
    object = pb_get_text(selected, 1);
    int index = table_of(object);
    const struct table *table = index < 0 ? NULL : stream->tables[index];
    switch (stream->step) {
    case OBJECT:
      if (table == NULL) {
        struct failure gone;
        fail(&gone, KIND_OBJECT_GONE, "There is no such object in a CSV file.");
        status_write(out, object, index < 0 ? &gone : &stream->reasons[index]);
        stream->position.object++;
        return true;
      }
      selection_free(&stream->selection);
      if (!selection_read(&stream->selection, selected, table, why)) {
        return false;
      }
      stream->announced = 0;
      stream->step = ANNOUNCE;
      break;
    case ANNOUNCE:
      if (announce(stream, table, object, out)) {
        return true;
      }
      stream->step = PROGRESS;
      break;
    case PROGRESS: {
      size_t event = pb_begin(out, EVENT_PROGRESS);
      pb_text(out, 1, object);
      pb_number(out, 2, table->row_count);
      pb_end(out, event);
      stream->step = stream->position.whole ? STATUS : BATCH;
      return true;
    }
    case BATCH:
      batch(stream, table, object, out);
      stream->step = CHECKPOINT;
      return true;
    case CHECKPOINT:
      checkpoint(stream, out);
      stream->step = stream->position.whole ? STATUS : BATCH;
      return true;
    default:
      status_write(out, object, NULL);
      stream->position.object++;
      stream->position.row = 0;
      stream->position.whole = false;
      stream->step = OBJECT;
      return true;
    }
  }
}

void stream_event(struct stream *stream, struct context *context, struct stop stop, struct bytes *out) {
  struct failure why;
  if (stream->ended) {
    fail(&why, KIND_CANCELLED, "The stream has ended.");
  } else if (stream->deadline_us != 0 && context->now_us() > stream->deadline_us) {
    stream->ended = true;
    fail(&why, KIND_DEADLINE_EXCEEDED, "The read took longer than it was given.");
  } else if (stop.asked(stop.of, &why)) {
    /* The position has not changed. */
  } else if (!stream->begun && !begin(stream, context, stop, &why)) {
    stream->ended = why.kind != KIND_CANCELLED;
  } else if (make(stream, out, &why)) {
    return;
  } else {
    stream->ended = true;
  }
  out->len = 0;
  stream_failure(out, &why);
}
