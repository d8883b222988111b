// Loaded before the suite's client.
import { pathToFileURL } from 'node:url'
import { fetch } from 'undici'

// The client of the suite's repository hands an agent of undici to fetch(); not every node's own fetch() knows such.
globalThis.fetch = fetch

// A response that never ends leaves its test, and those that were to follow, without a result: say so, and what is known.
process.once('beforeExit', async () => {
  const { testResults, testUUIDs } = await import(new URL('client/test.mjs', pathToFileURL(process.argv[1])))
  const unfinished = Object.keys(testUUIDs).filter(test => !(test in testResults))
  for (const test of unfinished) testResults[test] = ['Unfinished', 'a response did not come to its end']
  if (unfinished.length) console.log(JSON.stringify(testResults))
})
