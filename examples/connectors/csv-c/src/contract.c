#include "contract.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "pb.h"

/* Removes an incomplete character at the end of a text that snprintf has cut. */
static void whole_characters(char *text) {
  struct text all = text_of(text);
  size_t bad;
  if (!text_is_utf8(all, &bad)) {
    text[bad] = '\0';
  }
}

bool fail(struct failure *why, int kind, const char *format, ...) {
  memset(why, 0, sizeof *why);
  why->kind = kind;
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(why->message, sizeof why->message, format, arguments);
  va_end(arguments);
  whole_characters(why->message);
  return false;
}

void failure_write_plain(struct bytes *out, const struct failure *why) {
  pb_number(out, 1, (uint64_t)why->kind);
  pb_string(out, 2, why->message);
  pb_string(out, 4, why->object);
  pb_string(out, 5, why->field);
}

void failure_write(struct bytes *out, uint32_t field, const struct failure *why) {
  size_t error = pb_begin(out, field);
  failure_write_plain(out, why);
  pb_end(out, error);
}
