/** PostgreSQL 18 with pgvector, hostile values and all. */
import { testWithPgvector } from "./with-pgvector.ts";

testWithPgvector(18);
