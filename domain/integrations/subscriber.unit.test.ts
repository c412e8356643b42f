import { suite } from "@millrace/tests/harness/suite.ts";
