/* Bytes: borrowed texts, and a buffer that grows. */
#ifndef BYTES_H
#define BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A borrowed text, not ended by NUL. */
struct text {
  const char *data;
  size_t len;
};

/* The text of a C string, or of a literal. */
struct text text_of(const char *string);
/* Whether two texts have the same bytes. */
bool text_is(struct text a, struct text b);
/* Whether two texts are the same but for the case of ASCII letters. */
bool text_is_nocase(struct text a, struct text b);
/* Order by bytes: below, equal to or above 0. */
int text_compare(struct text a, struct text b);
/* Without white space at both ends. */
struct text text_trim(struct text text);
/* Whether a byte of it is one of these; false behind its end. */
bool text_at(struct text text, size_t at, const char *any_of);
/* How many ASCII digits stand from a byte on. */
size_t text_digits(struct text text, size_t at);
/* Whether the bytes are UTF-8; if not, *bad is where they stop being it. */
bool text_is_utf8(struct text text, size_t *bad);
/* An owned copy, ended by NUL; null where memory is out. */
char *text_copy(struct text text);

/* A buffer. Begins as {0}. After a failure to get memory every addition does nothing, and failed says so. */
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
/* Makes room of so many bytes at a place. */
void bytes_insert(struct bytes *bytes, size_t at, size_t count);
/* Frees what it holds; it is {0} again. */
void bytes_free(struct bytes *bytes);

#endif
