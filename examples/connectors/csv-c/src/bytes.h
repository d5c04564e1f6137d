/* Bytes: borrowed texts, and a growing buffer. */
#ifndef BYTES_H
#define BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A borrowed text, without a terminating NUL. */
struct text {
  const char *data;
  size_t len;
};

/* The text of a C string or a literal. */
struct text text_of(const char *string);
/* Whether two texts have the same bytes. */
bool text_is(struct text a, struct text b);
/* Whether two texts are equal, ignoring the case of ASCII letters. */
bool text_is_nocase(struct text a, struct text b);
/* Compares by bytes: below, equal to or above 0. */
int text_compare(struct text a, struct text b);
/* The text without white space at its ends. */
struct text text_trim(struct text text);
/* Whether the byte at a position is one of these; false after the end. */
bool text_at(struct text text, size_t at, const char *any_of);
/* The number of ASCII digits from a position on. */
size_t text_digits(struct text text, size_t at);
/* Whether the bytes are valid UTF-8; if not, *bad is the position of the first invalid byte. */
bool text_is_utf8(struct text text, size_t *bad);
/* An owned, NUL-terminated copy; null if there is no memory. */
char *text_copy(struct text text);

/* A buffer. Initialise it with {0}. After an allocation has failed, all appends do nothing, and failed is set. */
struct bytes {
  uint8_t *data;
  size_t len;
  size_t room;
  bool failed;
};

/* Appends. */
void bytes_put(struct bytes *bytes, const void *data, size_t len);
/* Appends one byte. */
void bytes_byte(struct bytes *bytes, uint8_t byte);
/* Appends the text of a C string. */
void bytes_string(struct bytes *bytes, const char *string);
/* Inserts room for this many bytes at a position. */
void bytes_insert(struct bytes *bytes, size_t at, size_t count);
/* Frees the content; the buffer is {0} again. */
void bytes_free(struct bytes *bytes);

#endif
