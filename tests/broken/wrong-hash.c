/* Has another hash than its manifest says. */
#include "base.h"
#include "entry.h"
