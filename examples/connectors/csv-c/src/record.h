/* What is selected of an object, and a row of it as a Record. */
#ifndef RECORD_H
#define RECORD_H

#include "table.h"

struct selected {
  struct text key;
  /* As the host has it. */
  int type;
  /* NO_COLUMN where the file has none of this key. */
  size_t column;
};

/* Fields in the order of their keys' bytes. Borrows from the message and the table. */
struct selection {
  struct selected *fields;
  size_t count;
};

/* Reads an ObjectSelection against a table; to be freed. */
bool selection_read(struct selection *selection, struct text message, const struct table *table, struct failure *why);
void selection_free(struct selection *selection);

/* Writes a row as a message of this field. The values stand in the host's types, or in those that the file has now. */
void record_write(struct bytes *out, uint32_t field, const struct table *table, size_t row,
                  const struct selection *selection, bool now_types);

extern const char company_object[];
extern const char contact_object[];

#endif
