#include "value.h"

#include <stdio.h>

#include "contract.h"
#include "moment.h"

/* More digits than real values have: an exponent must not produce a text of megabytes. */
#define MOST_DIGITS 128

void json_string(struct bytes *out, struct text text) {
  static const char hex[] = "0123456789abcdef";
  bytes_byte(out, '"');
  size_t from = 0;
  for (size_t i = 0; i < text.len; i++) {
    uint8_t byte = (uint8_t)text.data[i];
    if (byte >= 0x20 && byte != '"' && byte != '\\') {
      continue;
    }
    bytes_put(out, text.data + from, i - from);
    from = i + 1;
    char escape = 0;
    switch (byte) {
    case 0:
      /* PostgreSQL cannot store NUL. */
      continue;
    case '\b':
      escape = 'b';
      break;
    case '\t':
      escape = 't';
      break;
    case '\n':
      escape = 'n';
      break;
    case '\f':
      escape = 'f';
      break;
    case '\r':
      escape = 'r';
      break;
    case '"':
    case '\\':
      escape = (char)byte;
      break;
    default:
      bytes_string(out, "\\u00");
      bytes_byte(out, (uint8_t)hex[byte >> 4]);
      bytes_byte(out, (uint8_t)hex[byte & 15]);
      continue;
    }
    bytes_byte(out, '\\');
    bytes_byte(out, (uint8_t)escape);
  }
  bytes_put(out, text.data + from, text.len - from);
  bytes_byte(out, '"');
}

/* A decimal: its digits without leading and trailing zeros, and the number of digits before the point. */
struct decimal {
  bool negative;
  char digits[MOST_DIGITS + 1];
  size_t count;
  long point;
};

static bool decimal_read(struct text text, struct decimal *decimal) {
  text = text_trim(text);
  size_t at = 0;
  decimal->negative = text.len > 0 && text.data[0] == '-';
  if (text.len > 0 && (text.data[0] == '-' || text.data[0] == '+')) {
    at++;
  }
  size_t before = at, before_len = text_digits(text, at), after = 0, after_len = 0;
  at += before_len;
  if (at < text.len && text.data[at] == '.') {
    after = at + 1;
    after_len = text_digits(text, after);
    at = after + after_len;
  }
  if (before_len + after_len == 0) {
    return false;
  }
  long exponent = 0;
  if (at < text.len && (text.data[at] == 'e' || text.data[at] == 'E')) {
    at++;
    bool down = at < text.len && text.data[at] == '-';
    if (at < text.len && (text.data[at] == '-' || text.data[at] == '+')) {
      at++;
    }
    size_t len = text_digits(text, at);
    if (len == 0 || len > 6) {
      return false;
    }
    for (size_t i = 0; i < len; i++) {
      exponent = exponent * 10 + (text.data[at + i] - '0');
    }
    exponent = down ? -exponent : exponent;
    at += len;
  }
  if (at != text.len) {
    return false;
  }
  decimal->count = 0;
  decimal->point = (long)before_len + exponent;
  for (size_t i = 0; i < before_len + after_len; i++) {
    char digit = i < before_len ? text.data[before + i] : text.data[after + i - before_len];
    if (decimal->count == 0 && digit == '0') {
      decimal->point--;
      continue;
    }
    if (decimal->count == MOST_DIGITS) {
      return false;
    }
    decimal->digits[decimal->count++] = digit;
  }
  while (decimal->count > 0 && decimal->digits[decimal->count - 1] == '0') {
    decimal->count--;
  }
  if (decimal->count == 0) {
    decimal->negative = false;
    return true;
  }
  long low = decimal->point < 0 ? decimal->point : 0;
  long high = decimal->point > (long)decimal->count ? decimal->point : (long)decimal->count;
  return high - low <= MOST_DIGITS;
}

/* Written without exponent and without unnecessary zeros. */
static void decimal_write(struct bytes *out, const struct decimal *decimal) {
  if (decimal->count == 0) {
    bytes_byte(out, '0');
    return;
  }
  if (decimal->negative) {
    bytes_byte(out, '-');
  }
  long count = (long)decimal->count, point = decimal->point;
  if (point <= 0) {
    bytes_string(out, "0.");
    for (; point < 0; point++) {
      bytes_byte(out, '0');
    }
    bytes_put(out, decimal->digits, decimal->count);
  } else if (point >= count) {
    bytes_put(out, decimal->digits, decimal->count);
    for (; point > count; point--) {
      bytes_byte(out, '0');
    }
  } else {
    bytes_put(out, decimal->digits, (size_t)point);
    bytes_byte(out, '.');
    bytes_put(out, decimal->digits + point, decimal->count - (size_t)point);
  }
}

/* A whole number of 64 bits, also in the forms "5.0" and "1E3". */
static bool integer_write(struct bytes *out, struct text cell) {
  struct decimal decimal;
  if (!decimal_read(cell, &decimal) || decimal.point < (long)decimal.count || decimal.point > 19) {
    return false;
  }
  uint64_t value = 0, most = decimal.negative ? UINT64_C(1) << 63 : (uint64_t)INT64_MAX;
  for (long i = 0; i < decimal.point && decimal.count > 0; i++) {
    uint64_t digit = i < (long)decimal.count ? (uint64_t)(decimal.digits[i] - '0') : 0;
    if (value > (most - digit) / 10) {
      return false;
    }
    value = value * 10 + digit;
  }
  char digits[24];
  snprintf(digits, sizeof digits, "%s%llu", decimal.negative ? "-" : "", (unsigned long long)value);
  bytes_string(out, digits);
  return true;
}

static bool boolean_write(struct bytes *out, struct text cell) {
  struct text text = text_trim(cell);
  bool yes = text_is_nocase(text, text_of("true"));
  if (!yes && !text_is_nocase(text, text_of("false"))) {
    return false;
  }
  bytes_string(out, yes ? "true" : "false");
  return true;
}

void json_value(struct bytes *out, int type, struct text cell) {
  struct decimal decimal;
  switch (type) {
  case TYPE_BOOLEAN:
    if (boolean_write(out, cell)) {
      return;
    }
    break;
  case TYPE_INTEGER:
    if (integer_write(out, cell)) {
      return;
    }
    break;
  case TYPE_DECIMAL:
  case TYPE_CURRENCY:
  case TYPE_PERCENT:
    if (decimal_read(cell, &decimal)) {
      bytes_byte(out, '"');
      decimal_write(out, &decimal);
      bytes_byte(out, '"');
      return;
    }
    break;
  case TYPE_DATE:
  case TYPE_TIMESTAMP:
  case TYPE_TIME:
    if (moment_write(out, type, cell)) {
      return;
    }
    break;
  case 0:
  case TYPE_TEXT:
  case TYPE_PICKLIST:
  case TYPE_URL:
  case TYPE_EMAIL:
  case TYPE_PHONE:
  case TYPE_HTML:
    json_string(out, cell);
    return;
  default:
    break;
  }
  bytes_string(out, "{\"raw\":");
  json_string(out, cell);
  bytes_byte(out, '}');
}
