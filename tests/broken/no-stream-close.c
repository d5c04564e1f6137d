/* Leaves the slot stream_close empty. */
#define STREAM_CLOSE NULL
#include "base.h"
#include "entry.h"
