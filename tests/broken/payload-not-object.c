/* A row is JSON, but not an object. */
#define PAYLOAD "[1]"
#include "base.h"
#include "entry.h"
