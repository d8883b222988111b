// The client of the suite's repository hands an agent of undici to fetch(); not every node's own fetch() knows such.
import { fetch } from 'undici'
globalThis.fetch = fetch
