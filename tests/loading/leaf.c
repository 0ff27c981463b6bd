/* leaf: what caller.c looks for. */
int LeafNumber(void) { return 7; }
