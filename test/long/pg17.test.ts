/** PostgreSQL 17 with pgvector, hostile values and all. */
import { testWithPgvector } from "./with-pgvector.ts";

testWithPgvector(17);
