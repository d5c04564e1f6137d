/* None: the base itself. */
#include "base.h"
#include "entry.h"
