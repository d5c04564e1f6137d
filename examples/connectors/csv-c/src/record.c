#include "record.h"

#include <stdlib.h>

#include "pb.h"
#include "value.h"

const char company_object[] = "company";
const char contact_object[] = "contact";

static int by_key(const void *a, const void *b) {
  return text_compare(((const struct selected *)a)->key, ((const struct selected *)b)->key);
}

bool selection_read(struct selection *selection, struct text message, const struct table *table, struct failure *why) {
  struct pb_reader reader = pb_reader_of(message);
  struct pb_field field;
  size_t room = 0;
  selection->fields = NULL;
  selection->count = 0;
  while (pb_next(&reader, &field)) {
    if (field.number != 2) {
      continue;
    }
    if (selection->count == room) {
      room = room == 0 ? 16 : room * 2;
      struct selected *fields = realloc(selection->fields, room * sizeof *fields);
      if (fields == NULL) {
        selection_free(selection);
        return fail(why, KIND_TRANSIENT, "There is no memory for the fields; try again later.");
      }
      selection->fields = fields;
    }
    struct selected *one = &selection->fields[selection->count++];
    one->key = pb_get_text(field.text, 1);
    one->type = (int)pb_get_number(field.text, 2);
    one->type = one->type == 0 ? TYPE_TEXT : one->type;
    one->column = table_column(table, one->key);
  }
  if (selection->count > 1) {
    qsort(selection->fields, selection->count, sizeof *selection->fields, by_key);
  }
  return true;
}

void selection_free(struct selection *selection) {
  free(selection->fields);
  selection->fields = NULL;
  selection->count = 0;
}

/* One JSON object: keys sorted, no white space, empty cells omitted. */
static void payload_write(struct bytes *out, const struct table *table, size_t row, const struct selection *selection,
                          bool now_types) {
  bytes_byte(out, '{');
  bool any = false;
  for (size_t i = 0; i < selection->count; i++) {
    const struct selected *field = &selection->fields[i];
    bool twice = i > 0 && text_is(field->key, selection->fields[i - 1].key);
    if (field->column == NO_COLUMN || twice) {
      continue;
    }
    struct text cell = table_cell(table, row, field->column);
    if (cell.len == 0) {
      continue;
    }
    if (any) {
      bytes_byte(out, ',');
    }
    any = true;
    json_string(out, field->key);
    bytes_byte(out, ':');
    json_value(out, now_types ? table->columns[field->column].type : field->type, cell);
  }
  bytes_byte(out, '}');
}

void record_write(struct bytes *out, uint32_t field, const struct table *table, size_t row,
                  const struct selection *selection, bool now_types) {
  size_t record = pb_begin(out, field);
  pb_text(out, 1, table_cell(table, row, table->id));
  size_t payload = pb_begin(out, 2);
  payload_write(out, table, row, selection, now_types);
  pb_end(out, payload);
  if (table->company != NO_COLUMN && table_cell(table, row, table->company).len > 0) {
    size_t parent = pb_begin(out, 6);
    pb_string(out, 1, company_object);
    pb_text(out, 2, table_cell(table, row, table->company));
    pb_end(out, parent);
  }
  if (table->name != NO_COLUMN) {
    pb_text(out, 7, table_cell(table, row, table->name));
  }
  if (table->homepage != NO_COLUMN) {
    pb_text(out, 8, table_cell(table, row, table->homepage));
  }
  pb_end(out, record);
}
