/* As much of the protobuf wire format as the contract needs: varints and length-delimited fields. */
#ifndef PB_H
#define PB_H

#include "bytes.h"

/* Writing. Values that are 0 or empty are left out, as proto3 does. */
void pb_number(struct bytes *out, uint32_t field, uint64_t value);
void pb_text(struct bytes *out, uint32_t field, struct text text);
void pb_string(struct bytes *out, uint32_t field, const char *string);
/* A message inside: what is written between the two is its content. It is written even if it is empty. */
size_t pb_begin(struct bytes *out, uint32_t field);
void pb_end(struct bytes *out, size_t begun);

/* Reading. */
struct pb_reader {
  const uint8_t *at;
  const uint8_t *end;
  /* What was read is no message. */
  bool failed;
};

struct pb_field {
  uint32_t number;
  /* For a varint. */
  uint64_t value;
  /* For a text or a message; for a varint, empty. */
  struct text text;
};

struct pb_reader pb_reader_of(struct text message);
/* The next field; false at the end, and where the bytes are no message. */
bool pb_next(struct pb_reader *reader, struct pb_field *field);
/* Whether all of it can be read. */
bool pb_is_message(struct text message);
/* The last field of this number: its text, or its number; empty and 0 where there is none. */
struct text pb_get_text(struct text message, uint32_t number);
uint64_t pb_get_number(struct text message, uint32_t number);
/* The value of a key in a map<string, string>; empty where there is none. */
struct text pb_map_get(struct text message, uint32_t number, const char *key);

#endif
