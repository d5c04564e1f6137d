/* Its stream never ends. */
#define ENDS 0
#include "base.h"
#include "entry.h"
