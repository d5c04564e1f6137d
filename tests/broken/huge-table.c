/* Says its table is larger than the room it was given. */
#define SIZE 4096
#include "base.h"
#include "entry.h"
