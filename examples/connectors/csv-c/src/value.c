#include "value.h"

#include <stdio.h>
#include <string.h>

#include "contract.h"

/* More digits than anybody keeps; an exponent must not make a text of megabytes. */
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
      /* PostgreSQL cannot hold it. */
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

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static size_t digits_of(struct text text, size_t at) {
  size_t count = 0;
  while (at + count < text.len && is_digit(text.data[at + count])) {
    count++;
  }
  return count;
}

/* A decimal: its digits without the zeros around, and how many of them stand before the point. */
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
  size_t before = at, before_len = digits_of(text, at), after = 0, after_len = 0;
  at += before_len;
  if (at < text.len && text.data[at] == '.') {
    after = at + 1;
    after_len = digits_of(text, after);
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
    size_t len = digits_of(text, at);
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

/* Without exponent and without zeros that say nothing. */
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

/* A whole number of 64 bits, "5.0" and "1E3" too. */
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

/* A number of exactly so many digits; -1 where it is none. */
static int fixed(struct text text, size_t at, size_t count) {
  int value = 0;
  for (size_t i = at; i < at + count; i++) {
    if (i >= text.len || !is_digit(text.data[i])) {
      return -1;
    }
    value = value * 10 + (text.data[i] - '0');
  }
  return value;
}

static bool at_is(struct text text, size_t at, const char *any_of) {
  return at < text.len && text.data[at] != '\0' && strchr(any_of, text.data[at]) != NULL;
}

/* Days since the epoch of a day of the Gregorian calendar (Howard Hinnant's algorithm). */
static int64_t days_of(int64_t year, int month, int day) {
  year -= month <= 2;
  int64_t era = (year >= 0 ? year : year - 399) / 400, of_era = year - era * 400;
  int64_t of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
  return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static void day_of(int64_t days, int64_t *year, int *month, int *day) {
  days += 719468;
  int64_t era = (days >= 0 ? days : days - 146096) / 146097, of_era = days - era * 146097;
  int64_t y = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
  int64_t of_year = of_era - (365 * y + y / 4 - y / 100), m = (5 * of_year + 2) / 153;
  *day = (int)(of_year - (153 * m + 2) / 5 + 1);
  *month = (int)(m < 10 ? m + 3 : m - 9);
  *year = y + era * 400 + (*month <= 2);
}

/* The day that a text begins with. */
static bool date_read(struct text text, int64_t *days) {
  int year = fixed(text, 0, 4), month = fixed(text, 5, 2), day = fixed(text, 8, 2);
  if (year < 1 || month < 1 || month > 12 || day < 1 || day > 31 || !at_is(text, 4, "-") || !at_is(text, 7, "-")) {
    return false;
  }
  *days = days_of(year, month, day);
  int64_t same_year;
  int same_month, same_day;
  day_of(*days, &same_year, &same_month, &same_day);
  return same_month == month && same_day == day;
}

/* The time of day at a place, in milliseconds; *at moves behind it. */
static bool time_read(struct text text, size_t *at, int64_t *milliseconds) {
  int hour = fixed(text, *at, 2), minute = fixed(text, *at + 3, 2), second = 0, thousandths = 0;
  if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || !at_is(text, *at + 2, ":")) {
    return false;
  }
  *at += 5;
  if (at_is(text, *at, ":")) {
    second = fixed(text, *at + 1, 2);
    if (second < 0 || second > 59) {
      return false;
    }
    *at += 3;
    if (at_is(text, *at, ".,")) {
      size_t len = digits_of(text, *at + 1);
      if (len == 0) {
        return false;
      }
      for (size_t i = 0; i < 3; i++) {
        thousandths = thousandths * 10 + (i < len ? text.data[*at + 1 + i] - '0' : 0);
      }
      *at += 1 + len;
    }
  }
  *milliseconds = ((int64_t)(hour * 60 + minute) * 60 + second) * 1000 + thousandths;
  return true;
}

/* Minutes east of UTC that the rest of a text says: `Z`, `+02:00`, `+0200`, `+02`, or nothing. */
static bool zone_read(struct text text, size_t at, int *minutes) {
  *minutes = 0;
  if (at == text.len || (at + 1 == text.len && at_is(text, at, "Zz"))) {
    return true;
  }
  if (!at_is(text, at, "+-")) {
    return false;
  }
  size_t colon = at_is(text, at + 3, ":") ? 1 : 0, len = text.len - at - 1;
  int hours = fixed(text, at + 1, 2), rest = len == 2 ? 0 : fixed(text, at + 3 + colon, 2);
  if ((len != 2 && len != 4 + colon) || hours < 0 || hours > 23 || rest < 0 || rest > 59) {
    return false;
  }
  *minutes = (text.data[at] == '-' ? -1 : 1) * (hours * 60 + rest);
  return true;
}

#define DAY_MS INT64_C(86400000)

static bool timestamp_read(struct text text, int64_t *unix_ms) {
  int64_t days, milliseconds;
  int minutes;
  size_t at = 11;
  if (!date_read(text, &days) || !at_is(text, 10, "Tt ") || !time_read(text, &at, &milliseconds) ||
      !zone_read(text, at, &minutes)) {
    return false;
  }
  *unix_ms = days * DAY_MS + milliseconds - (int64_t)minutes * 60000;
  return true;
}

static void date_write(struct bytes *out, int64_t days) {
  int64_t year;
  int month, day;
  char text[40];
  day_of(days, &year, &month, &day);
  snprintf(text, sizeof text, "%04lld-%02d-%02d", (long long)year, month, day);
  bytes_string(out, text);
}

static void time_write(struct bytes *out, int64_t milliseconds) {
  char text[40];
  int seconds = (int)(milliseconds / 1000);
  snprintf(text, sizeof text, "%02d:%02d:%02d.%03d", seconds / 3600, seconds / 60 % 60, seconds % 60,
           (int)(milliseconds % 1000));
  bytes_string(out, text);
}

/* What is written stands in quotes. */
static bool moment_write(struct bytes *out, int type, struct text cell) {
  struct text text = text_trim(cell);
  int64_t days, milliseconds;
  size_t at = 0;
  switch (type) {
  case TYPE_DATE:
    if (!date_read(text, &days)) {
      return false;
    }
    if (text.len != 10) {
      /* A moment at midnight UTC is a day too. */
      if (!timestamp_read(text, &milliseconds) || milliseconds % DAY_MS != 0) {
        return false;
      }
      days = milliseconds / DAY_MS;
    }
    bytes_byte(out, '"');
    date_write(out, days);
    break;
  case TYPE_TIME:
    if (!time_read(text, &at, &milliseconds) || !(at == text.len || (at + 1 == text.len && at_is(text, at, "Zz")))) {
      return false;
    }
    bytes_byte(out, '"');
    time_write(out, milliseconds);
    break;
  default:
    if (!timestamp_read(text, &milliseconds)) {
      return false;
    }
    days = milliseconds / DAY_MS - (milliseconds % DAY_MS < 0);
    if (days < days_of(1, 1, 1) || days > days_of(9999, 12, 31)) {
      return false;
    }
    bytes_byte(out, '"');
    date_write(out, days);
    bytes_byte(out, 'T');
    time_write(out, milliseconds - days * DAY_MS);
    bytes_byte(out, 'Z');
  }
  bytes_byte(out, '"');
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

static const struct {
  const char *word;
  int type;
} words[] = {
    {"text", TYPE_TEXT},         {"picklist", TYPE_PICKLIST}, {"boolean", TYPE_BOOLEAN}, {"integer", TYPE_INTEGER},
    {"decimal", TYPE_DECIMAL},   {"currency", TYPE_CURRENCY}, {"percent", TYPE_PERCENT}, {"date", TYPE_DATE},
    {"timestamp", TYPE_TIMESTAMP}, {"time", TYPE_TIME},       {"url", TYPE_URL},         {"email", TYPE_EMAIL},
    {"phone", TYPE_PHONE},
};

const char *type_word(int type) {
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    if (words[i].type == type) {
      return words[i].word;
    }
  }
  return NULL;
}

int type_of_word(struct text word) {
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    if (text_is(word, text_of(words[i].word))) {
      return words[i].type;
    }
  }
  return 0;
}

/* From the narrowest to the widest; TEXT is what is left. */
static const int guesses[] = {TYPE_BOOLEAN,   TYPE_INTEGER, TYPE_DECIMAL, TYPE_DATE,
                              TYPE_TIMESTAMP, TYPE_URL,     TYPE_EMAIL};

/* A plain number. Zeros in front make a code (007, a postal code), a plus sign a telephone number. */
static bool is_number(struct text cell, bool with_point) {
  size_t at = cell.len > 0 && cell.data[0] == '-' ? 1 : 0, whole = digits_of(cell, at);
  if (whole == 0 || whole > 15 || (whole > 1 && cell.data[at] == '0')) {
    return false;
  }
  at += whole;
  if (with_point && at < cell.len && cell.data[at] == '.') {
    size_t fraction = digits_of(cell, at + 1);
    return fraction > 0 && fraction <= 15 && at + 1 + fraction == cell.len;
  }
  return at == cell.len;
}

static bool is_url(struct text cell) {
  return (cell.len > 8 && memcmp(cell.data, "https://", 8) == 0) ||
         (cell.len > 7 && memcmp(cell.data, "http://", 7) == 0);
}

static bool is_email(struct text cell) {
  size_t at = 0, point = 0;
  for (size_t i = 0; i < cell.len; i++) {
    char c = cell.data[i];
    if (c == ' ' || (c == '@' && (at != 0 || i == 0))) {
      return false;
    }
    at = c == '@' ? i : at;
    point = c == '.' ? i : point;
  }
  return at != 0 && point > at + 1 && point + 1 < cell.len;
}

static bool is_of(int type, struct text cell) {
  int64_t value;
  switch (type) {
  case TYPE_BOOLEAN:
    return text_is_nocase(cell, text_of("true")) || text_is_nocase(cell, text_of("false"));
  case TYPE_INTEGER:
    return is_number(cell, false);
  case TYPE_DECIMAL:
    return is_number(cell, true);
  case TYPE_DATE:
    return cell.len == 10 && date_read(cell, &value);
  case TYPE_TIMESTAMP:
    return at_is(cell, 10, "T") && timestamp_read(cell, &value);
  case TYPE_URL:
    return is_url(cell);
  default:
    return is_email(cell);
  }
}

void guess_begin(struct guess *guess) {
  guess->possible = (1u << (sizeof guesses / sizeof *guesses)) - 1;
  guess->any = false;
}

void guess_cell(struct guess *guess, struct text cell) {
  if (cell.len == 0 || guess->possible == 0) {
    return;
  }
  guess->any = true;
  for (size_t i = 0; i < sizeof guesses / sizeof *guesses; i++) {
    if ((guess->possible & 1u << i) != 0 && !is_of(guesses[i], cell)) {
      guess->possible &= ~(1u << i);
    }
  }
}

int guess_end(const struct guess *guess) {
  for (size_t i = 0; guess->any && i < sizeof guesses / sizeof *guesses; i++) {
    if ((guess->possible & 1u << i) != 0) {
      return guesses[i];
    }
  }
  return TYPE_TEXT;
}
