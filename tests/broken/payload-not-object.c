/* A row is JSON, but no object. */
#define PAYLOAD "[1]"
#include "base.h"
#include "entry.h"
