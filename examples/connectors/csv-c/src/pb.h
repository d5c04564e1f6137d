/* The part of the protobuf wire format that the contract needs: varints and length-delimited fields. */
#ifndef PB_H
#define PB_H

#include "bytes.h"

/* Writing. Values that are 0 or empty are omitted, as in proto3. */
void pb_number(struct bytes *out, uint32_t field, uint64_t value);
void pb_text(struct bytes *out, uint32_t field, struct text text);
void pb_string(struct bytes *out, uint32_t field, const char *string);
/* A nested message: its content is written between the two calls. It is written even if it is empty. */
size_t pb_begin(struct bytes *out, uint32_t field);
void pb_end(struct bytes *out, size_t begun);

/* Reading. */
struct pb_reader {
  const uint8_t *at;
  const uint8_t *end;
  /* The bytes are not a valid message. */
  bool failed;
};

struct pb_field {
  uint32_t number;
  /* The value of a varint. */
  uint64_t value;
  /* The text or the nested message; empty for a varint. */
  struct text text;
};

struct pb_reader pb_reader_of(struct text message);
/* Reads the next field; returns false at the end, and if the bytes are not a valid message. */
bool pb_next(struct pb_reader *reader, struct pb_field *field);
/* Whether the whole message is valid. */
bool pb_is_message(struct text message);
/* The last field with this number: its text or number; empty or 0 if there is none. */
struct text pb_get_text(struct text message, uint32_t number);
uint64_t pb_get_number(struct text message, uint32_t number);
/* The value of a key in a map<string, string>; empty if there is none. */
struct text pb_map_get(struct text message, uint32_t number, const char *key);

#endif
