#include "pb.h"

enum { VARINT = 0, FIXED64 = 1, DELIMITED = 2, FIXED32 = 5 };

static void varint(struct bytes *out, uint64_t value) {
  while (value >= 0x80) {
    bytes_byte(out, (uint8_t)(value | 0x80));
    value >>= 7;
  }
  bytes_byte(out, (uint8_t)value);
}

static void tag(struct bytes *out, uint32_t field, uint32_t wire) { varint(out, (uint64_t)field << 3 | wire); }

void pb_number(struct bytes *out, uint32_t field, uint64_t value) {
  if (value != 0) {
    tag(out, field, VARINT);
    varint(out, value);
  }
}

void pb_text(struct bytes *out, uint32_t field, struct text text) {
  if (text.len > 0) {
    tag(out, field, DELIMITED);
    varint(out, text.len);
    bytes_put(out, text.data, text.len);
  }
}

void pb_string(struct bytes *out, uint32_t field, const char *string) { pb_text(out, field, text_of(string)); }

size_t pb_begin(struct bytes *out, uint32_t field) {
  tag(out, field, DELIMITED);
  /* Room for the usual length; a longer one moves the content. */
  bytes_byte(out, 0);
  return out->len;
}

void pb_end(struct bytes *out, size_t begun) {
  if (out->failed) {
    return;
  }
  size_t len = out->len - begun, more = 0;
  for (size_t rest = len >> 7; rest > 0; rest >>= 7) {
    more++;
  }
  bytes_insert(out, begun, more);
  if (out->failed) {
    return;
  }
  uint8_t *at = out->data + begun - 1;
  for (; len >= 0x80; len >>= 7) {
    *at++ = (uint8_t)(len | 0x80);
  }
  *at = (uint8_t)len;
}

struct pb_reader pb_reader_of(struct text message) {
  const uint8_t *at = (const uint8_t *)message.data;
  struct pb_reader reader = {at, message.len == 0 ? at : at + message.len, false};
  return reader;
}

static bool read_varint(struct pb_reader *reader, uint64_t *value) {
  *value = 0;
  for (unsigned shift = 0; shift < 70 && reader->at < reader->end; shift += 7) {
    uint8_t byte = *reader->at++;
    if (shift < 64) {
      *value |= (uint64_t)(byte & 0x7f) << shift;
    }
    if (byte < 0x80) {
      return true;
    }
  }
  reader->failed = true;
  return false;
}

static bool take(struct pb_reader *reader, uint64_t len, struct text *text) {
  if (len > (uint64_t)(reader->end - reader->at)) {
    reader->failed = true;
    return false;
  }
  text->data = (const char *)reader->at;
  text->len = (size_t)len;
  reader->at += len;
  return true;
}

bool pb_next(struct pb_reader *reader, struct pb_field *field) {
  uint64_t key;
  if (reader->failed || reader->at == reader->end || !read_varint(reader, &key)) {
    return false;
  }
  field->number = (uint32_t)(key >> 3);
  field->value = 0;
  field->text.data = "";
  field->text.len = 0;
  struct text skipped;
  switch (key & 7) {
  case VARINT:
    return read_varint(reader, &field->value);
  case DELIMITED: {
    uint64_t len = 0;
    return read_varint(reader, &len) && take(reader, len, &field->text);
  }
  case FIXED64:
    return take(reader, 8, &skipped);
  case FIXED32:
    return take(reader, 4, &skipped);
  default:
    reader->failed = true;
    return false;
  }
}

bool pb_is_message(struct text message) {
  struct pb_reader reader = pb_reader_of(message);
  struct pb_field field;
  while (pb_next(&reader, &field)) {
  }
  return !reader.failed;
}

struct text pb_get_text(struct text message, uint32_t number) {
  struct pb_reader reader = pb_reader_of(message);
  struct pb_field field;
  struct text found = {"", 0};
  while (pb_next(&reader, &field)) {
    if (field.number == number) {
      found = field.text;
    }
  }
  return found;
}

uint64_t pb_get_number(struct text message, uint32_t number) {
  struct pb_reader reader = pb_reader_of(message);
  struct pb_field field;
  uint64_t found = 0;
  while (pb_next(&reader, &field)) {
    if (field.number == number) {
      found = field.value;
    }
  }
  return found;
}

struct text pb_map_get(struct text message, uint32_t number, const char *key) {
  struct pb_reader reader = pb_reader_of(message);
  struct pb_field field;
  struct text found = {"", 0};
  while (pb_next(&reader, &field)) {
    if (field.number == number && text_is(pb_get_text(field.text, 1), text_of(key))) {
      found = pb_get_text(field.text, 2);
    }
  }
  return found;
}
