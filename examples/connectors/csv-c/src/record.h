/* The selected fields of an object, and a row of it as a Record. */
#ifndef RECORD_H
#define RECORD_H

#include "table.h"

struct selected {
  struct text key;
  /* The type that the host has stored. */
  int type;
  /* NO_COLUMN if the file has no such column. */
  size_t column;
};

/* Fields in the order of their keys' bytes. Borrows from the message and the table. */
struct selection {
  struct selected *fields;
  size_t count;
};

/* Reads an ObjectSelection for a table; the caller frees it. */
bool selection_read(struct selection *selection, struct text message, const struct table *table, struct failure *why);
void selection_free(struct selection *selection);

/* Writes a row as a message in this field. The values have the host's types, or the current types of the file. */
void record_write(struct bytes *out, uint32_t field, const struct table *table, size_t row,
                  const struct selection *selection, bool now_types);

extern const char company_object[];
extern const char contact_object[];

#endif
