/** Every bound in the product has its name here, with the reason. Sizes are bytes. */
const KIB = 1024;
const MIB = 1024 * KIB;

export const LIMITS = {
  /** A file or a table's range is cut into chunks no longer than this; restic buffers a chunk whole. */
  chunkMaxBytes: 8 * MIB,
  /** Where a range's rows are cut: about this much, at fixed ids. */
  rangeChunkBytes: 768 * KIB,
  /** A range of a table is about this large, so that a changed range costs little and a lock is short. */
  rangeTargetBytes: 16 * MIB,
  /** Of a table whose values are replaced, about so much is in memory at once. */
  rewrittenBytes: 4 * MIB,
  /** Messages whose beginnings are looked for after everything was replaced. */
  originalTexts: 20_000,
  /** A pack is closed at this size. restic's default. */
  packTargetBytes: 16 * MIB,
  /** Appends to a pack are gathered into writes of this size. */
  packWriteBytes: 1 * MIB,
  /** Packs whose fsync may be under way at once, per worker. */
  packSyncs: 4,
  /** Of memory that a thread keeps to read packs into. */
  packReusedBytes: 64 * MIB,
  /**
   * Packs on their way to a remote place at once, per worker: each lies in memory until it has arrived. Two of each worker
   * fill a line of 200 Mbit/s and 50 ms, one being filled while the other is sent.
   */
  packUploads: 2,
  /** A pack below this is small … */
  packSmallBytes: 4 * MIB,
  /** … and so many small ones of a type are worth being joined. */
  packsSmall: 10,
  /** Of what was recorded of an immutable repository's locks, so many are asked for all the same. */
  retentionSample: 64,
  /** Files of an immutable repository that are looked at at once. */
  retentionCalls: 16,
  /** Removals under way at once. */
  removals: 8,
  /** restic's own bound on a pack's header. */
  packHeaderMaxBytes: 16 * MIB,
  /** A chunk of an index, tree or snapshot never unpacks to more than this (a zstd bomb would). */
  unpackedMaxBytes: 512 * MIB,
  /** Chunks in one pack: its header stays far below restic's bound, and its list is small in memory. */
  packMaxChunks: 50_000,
  /** Chunks in one index file; restic's number. */
  indexFileChunks: 50_000,
  /** An index file is written at latest after packs of so many bytes: what an interrupted run must not repeat. */
  indexFileBytes: 1024 * MIB,
  /** New chunks of one run that no two threads write twice; beyond, a duplicate costs space. 4 bytes each at once, 32 when used. */
  claimedChunks: 2 * 1024 * 1024,
  /** Key files that a password is tried on; restic's number. */
  keysTried: 20,
  /** Reads of a pack are joined across gaps up to this … */
  readGapBytes: 256 * KIB,
  /** … and not beyond this length. */
  readMaxBytes: 4 * MIB,
  /** Such reads from a remote place that each thread of a restore has under way: the line is never idle. */
  readsAhead: 4,
  /** Files and bytes that a restore plans at once … */
  restoreBatchFiles: 20_000,
  restoreBatchBytes: 1024 * MIB,
  /** … and such plans that are carried out at once. */
  restoreBatches: 2,
  /** Folders that each thread of a restore remembers to have made. */
  restoreFolders: 50_000,
  /** Chunks of a copy that are planned at once, and stretches of packs that one worker reads at once. */
  copyBatchChunks: 50_000,
  copyReadsAhead: 4,
  /** Snapshots of a copy are written at latest when so much was copied for them: small ones share packs. */
  copyBatchBytes: 256 * MIB,
  /** Packs that are read whole at once when they are verified; stock restic's may have 128 MiB. */
  packsVerified: 2,
  /** Where all uploaded files together have fewer bytes, a drill reads each of them every time. */
  drillWholeBytes: 64 * MIB,
  /** Uploaded files of a service that `doctor` looks for on the disk. */
  sampledFiles: 500,
  /** … and in a bucket, where each look is a request. */
  sampledObjects: 200,
  /** Of each service, `scrub` reads so many without --all … */
  scrubbedFiles: 500,
  /** … and with it, so many are listed at once. */
  scrubbedPage: 1_000,
  /** Trees, snapshots and index files read at once. */
  smallReads: 8,
  /** Chunks of one file that are read ahead of who takes them. */
  chunksAhead: 6,
  /** scrypt costs that a key file may ask for (memory = 128 · N · r bytes). */
  scryptMaxMemoryBytes: 512 * MIB,
  /** Worker threads that read, seal and write. Two saturate two cores; a third gained nothing. */
  sealingWorkers: 2,
  /** Tasks given to a worker ahead of its answer, so that it never waits. */
  tasksAhead: 2,
  /** A worker thread that does not end by itself within this time is ended. */
  workerStopMs: 10_000,
  /** Files in one task for a worker. */
  filesPerTask: 32,
  /** Uploaded files that are fetched from buckets at once, over all threads … */
  objectsInFlight: 64,
  /** … and of their bytes, at most so many in each thread; a file has 8 MiB of itself there at most. */
  objectBytesInFlight: 32 * MIB,
  /** A file that is put into a bucket is sent in one request up to this, else in parts of this length … */
  objectPartBytes: 8 * MIB,
  /** … or of longer ones, for no service takes more than 10,000. */
  objectParts: 9_000,
  objectPartUnitBytes: 256 * KIB,
  /** Of files on their way into storage services, so much lies in memory at most. */
  putBytesInFlight: 64 * MIB,
  /** Files that a restore writes down before it puts them into a folder … */
  putBatchFiles: 4_096,
  putBatchBytes: 512 * MIB,
  /** … or into a bucket, and these lie on the disk until they are sent, except what is larger than this. */
  objectBatchFiles: 1_024,
  objectBatchBytes: 128 * MIB,
  gatheredBytes: 16 * MIB,
  /** Files whose chunks are read in this thread: starting others takes as long as reading so much. */
  gatheredHereBytes: 16 * MIB,
  /** So few files or folders are synced one by one: a whole filesystem has what others wrote, too. */
  syncedSingly: 48,
  /** Files that are given their names before others get their turn. */
  filesPerTurn: 64,
  /** A bucket is listed, not asked for each file, where so many are looked for. */
  listedFrom: 16,
  /** Restore points that are asked whether they have what another lacks. */
  otherPointsAsked: 12,
  /** Files that are looked for there. */
  otherPointsFiles: 100,
  /** Files that are written into a folder at once. */
  localFilesInFlight: 64,
  /** What was written to a folder is read back in pieces of this length. */
  localReadBackBytes: 1 * MIB,
  /** Where so many files of a service were forbidden and none was given, the whole service counts as forbidden. */
  objectsDenied: 50,
  /** After so many files for which a service failed while its bucket answered, it counts as down. */
  objectsBroken: 8,
  /** Blobs of consecutive ids in one folder of a restore point: 2^10. */
  blobFolderBits: 10,
  /** Folders in one group: ids >> 20. */
  blobGroupBits: 20,
  /** Tables from this size on are looked through for what changed; smaller ones are simply read. */
  stampedTableBytes: 4 * MIB,
  /** Of the ranges that did not change, one in so many is read all the same at each backup. */
  rereadOneIn: 7,
  /** Connections that look for what changed. */
  scanConnections: 2,
  /** Of a large object, a line of its text has so much. */
  largeObjectPartBytes: 64 * KIB,
  /** Rows are loaded, and indexes built, by as many sessions as this machine has cores, but by no more. */
  loadJobs: 8,
  /** All indexes that a restore builds at once get so much together, or what the server's cache has if that is more … */
  indexMemoryBytes: 512 * MIB,
  /** … and each of them at least and at most so much. */
  indexMemoryMinBytes: 64 * MIB,
  indexMemoryMaxBytes: 1024 * MIB,
  /** Ranges of one table; beyond, its buckets are made larger, even when the parent's were smaller. */
  tableRanges: 65_536,
  /** Rows without an integer key that are remembered at once while two restore points are compared … */
  diffRowsAtOnce: 200_000,
  /** … and their text. */
  diffBytesAtOnce: 64 * MIB,
  /** Ids of a table's rows, and names of files, that a comparison lists; the rest is counted. */
  diffListed: 100,
  /** Of a range of which rows cannot be read, so many parts are tried until it is known which. */
  unreadableProbes: 2_000,
  /** So often it is looked for them anew where the rest could not be read either. */
  unreadableLooks: 3,
  /** Accounts that shrank and are told of one by one; the rest is counted. */
  shrunkAccounts: 10,
  /** Conversations, messages … of each account that a comparison gives as examples. */
  diffExamples: 3,
  /** What a COPY is cut in: the longest chunk, and room to go on reading. */
  cutterBufferBytes: 9 * MIB,
  /**
   * How long a lock of ours waits at once: less than the server's default deadlock_timeout of a second, so that a
   * migration which holds the one table and wants the other is never the one that is ended …
   */
  lockTimeoutMs: 400,
  /** … and how often it is tried again: ten minutes together. */
  lockAttempts: 1_500,
  /** A standby may end one range, one piece or one statement so often … */
  conflictRetries: 4,
  /** … and all readers at once: so often everything begins with a new snapshot. */
  conflictAttempts: 5,
  /** A standby that is further behind its primary is worth a warning. */
  standbyBehindSeconds: 5 * 60,
  /** A transaction of somebody's that is open for longer is told of … */
  longTransactionSeconds: 10 * 60,
  /** … as a warning, if it does nothing for so long … */
  idleTransactionSeconds: 3600,
  /** … and of so many at most, the oldest. */
  longTransactionsTold: 5,
  /** A replication slot that keeps rows is told of when so many transactions have begun since they died. */
  slotHeldTransactions: 100_000,
  /** A file whose row is no older than this and that is not there may still be on its way … */
  lateFileAgeMs: 60_000,
  /** … and is waited for so long, before it is said to be missing. */
  lateFileWaitMs: 10_000,
  /** A repository that has not finished one call after so long is told of. */
  watchSlowMs: 30_000,
  /** Between two restore points of a watch passes so many times what one takes. */
  intervalShare: 20,
  /** A repository that has taken nothing for so long is told of. */
  watchTroubleMs: 60_000,
  /** What the server has had for so long without its being in every repository is told of … */
  watchLagMs: 60_000,
  /** … and is an alarm then, or beyond `objectives.rpo` where that is less. */
  watchLagAlarmMs: 10 * 60_000,
  /** A commit is in the log so long after the time that it has, at the latest. */
  commitSettlesMs: 10_000,
  /** What happened once, as a file that was lost, is known for so long. */
  watchEventMs: 24 * 60 * 60_000,
  /** A span of the log is stored when so much of it is there in whole segments … */
  spanBytes: 32 * MIB,
  /** … or when its first byte came so long ago, … */
  spanMs: 10 * 60_000,
  /** … and where that fails it is tried again after this, and then after twice as long each time. */
  spanRetryMs: 1_000,
  /** While the server has a whole span more, what came waits so long for the span, and is not stored in the journal first. */
  spanComingMs: 5_000,
  /** Of spans that follow each other the lock is held so long at most, so that whoever wants the repository alone gets it … */
  writingLockMs: 10_000,
  /** … and so long where the next one is waited for. */
  writingPauseMs: 2_000,
  /** Threads that seal spans end when there was none for so long. */
  writingRestMs: 10_000,
  /** So much of the log lies in memory at most: then the server keeps the rest. */
  tailBytes: 48 * MIB,
  /** A repository for whose sake memory is full while another one waits for more is left behind after so long altogether … */
  heldUpMs: 5_000,
  /** … and where it holds up the others again it joins them again after twice as long each time, up to this. */
  leftBehindMostMs: 10 * 60_000,
  /** Where a repository has answered, others are waited for so long in all; then they join when they answer. To read, from the first answer on. */
  placeAnswerMs: 20_000,
  /** Logs that end within so long of each other are like: `flush-every` at its most, and what storing takes. */
  likeLogMs: 90_000,
  /** So much of its log may a server keep for a watch, where the configuration does not say: its disk counts more than a gap. */
  retainedBytes: 4 * 1024 * MIB,
  /** The same where nobody knows how much room that disk has, and the server has no bound of its own. */
  retainedUnseenBytes: 1024 * MIB,
  /** A base that is taken because much was written stays the newest for so many times as long as it took. */
  baseRestTimes: 10,
  /** It may always be so much: below, each outage of a minute would cost a base. */
  retainedLeastBytes: 64 * MIB,
  /** Whoever wants a repository alone waits so long for a watch: it stores within seconds, and a base may take more than an hour. */
  watchLockPatienceMs: 2 * 60 * 60_000,
  /** It looks so often at last whether the watch is done. */
  watchLockMostMs: 30_000,
  /** While somebody has a repository alone it is told after this that files are not followed into it. */
  filesLockedMs: 60 * 60_000,
  /** A watch writes down how it is so often. */
  watchReportMs: 5_000,
  /** … and is taken for dead when it has not done so for so long. */
  watchSilentMs: 60_000,
  /** What comes and goes is told again after this at the earliest. */
  watchToldAgainMs: 10 * 60_000,
  /** … but an alarm that came back and stays for so long is told then. */
  watchStaysMs: 60_000,
  /** Between two looks for uploaded files. */
  followEveryMs: 5_000,
  /** So often it is looked whether a base is due … */
  watchBaseLookMs: 60_000,
  /** A base that is so much younger than now says nothing of its age. */
  baseAheadMs: 24 * 3_600_000,
  /** For a database that took the place of another none is taken before the newest is so old … */
  replacedBaseMs: 10 * 60_000,
  /** … and after one that could not be taken no later than this. */
  watchBaseRetryMostMs: 30 * 60_000,
  /** Log that a repository lacks, and that is damaged in the one that has it, is tried again after so long. */
  damagedSpanRetryMs: 6 * 3_600_000,
  /** Of so many bases in a row a server sends only what changed: with the next it reads all its pages, and checks them. */
  builtBases: 6,
  /** A base is read, and the log replayed, at least as fast, until it was measured. Bytes a second. */
  replayRate: 20 * MIB,
  /** What fewer bytes took says nothing of how long more of them take; … */
  measuredBytes: 16 * MIB,
  /** … and so many of the newest recoveries are remembered. */
  measuresKept: 10,
  /** Objects that the journal of a segment which fills slowly comes to at most, before they become a span. */
  journalObjects: 100,
  /** Sessions of the log's that somebody ends, one after the other, are told of after this. */
  endedSessionMs: 5_000,
  /** Between two sessions of the log's at most; the first wait is half a second, and doubles. */
  watchRetryMostMs: 30_000,
  /** What an old primary wrote alone is read for its commits, where it is no more than this. */
  oldTailBytes: 256 * MIB,
  /** Where they cannot be counted for so long, they are told without; … */
  oldTailPatienceMs: 2 * 60_000,
  /** … and it is tried again after so long at first, … */
  oldTailRetryMs: 10_000,
  /** … and later no less often than this. */
  oldTailRetryMostMs: 10 * 60_000,
  /** It is looked for once more so long after a line began. */
  oldTailAgainMs: 15 * 60_000,
  /** A server's log that is another one than before is begun anew so often at most: each time takes a base. */
  partAgainMs: 10 * 60_000,
  /** So often it is looked how much the server keeps for us, and whether a repository answers again. */
  watchLookMs: 10_000,
  /** A watch looks so often whether another version was installed in its place. */
  programLookMs: 60_000,
  /** Where the log is not followed, a slot of ours that nobody reads is looked for so often … */
  unreadSlotLookMs: 60_000,
  /** … and is not given up before it stood still for so long. */
  unreadSlotMs: 10 * 60_000,
  /** Of uploaded files that are followed, the rows of so many of the newest ids are asked for each time … */
  followedIds: 10_000,
  /** … so many at once; … */
  followedPage: 10_000,
  /** … and a file that is not there is looked for again for so long after it was first asked for. */
  followedLateMs: 15 * 60_000,
  /** A row of snapshots of followed files ends when it has so many … */
  followedFiles: 20_000,
  /** … or is so old: then the next one begins, and what is old can be forgotten. */
  followedAgeMs: 2 * 24 * 3_600_000,
  /** A password of the database that a command printed is used again for so long: the shortest tokens live five minutes. */
  passwordKeptMs: 2 * 60_000,
  /** Such a command ends within this time. */
  passwordCommandMs: 60_000,
  /** A session that the server has no room for is asked for again for so long. */
  sessionWaitMs: 10_000,
  /** Of what a server streams, so much is held for whoever reads it; then the socket waits. */
  replicationAheadBytes: 4 * MIB,
  /** A server that streams its log is told so often how far we are; PostgreSQL's own programs do the same. */
  walStatusMs: 10_000,
  /** One that says nothing for so long, though it is asked, is gone. */
  walSilenceMs: 60_000,
  /** What saying good-bye to such a server may take. */
  walGoodbyeMs: 10_000,
  /** Connections that COPY at once. */
  copyConnections: 2,
  /** How long a run that failed may take to write the index of what it stored, and any run to take its lock away. */
  lastWordsMs: 20_000,
  /** How long a drill waits for its own database to be dropped. */
  dropDatabaseMs: 10 * 60_000,
  /** A packet of a file server: OpenSSH's largest has 256 KiB; a longer one is no SFTP at all. */
  sftpPacketMaxBytes: 1 * MIB,
  /** What every server takes in one read or write … */
  sftpBlockBytes: 32 * KIB,
  /** … and the most that is asked for where a server says that it takes more. */
  sftpBlockMaxBytes: 255 * KIB,
  /** Bytes of one file that are under way at once: a link of 200 Mbit/s and 100 ms holds 2.5 MB. */
  sftpWindowBytes: 4 * MIB,
  /** Requests for small things (folders, listings) that are under way at once. */
  sftpRequests: 16,
  /** How long ssh may take to connect, each address … */
  sshConnectSeconds: 30,
  /** … and everything until the server speaks SFTP. */
  sftpOpenMs: 90_000,
  /** ssh asks a silent server for a sign of life so often, and gives up after three times. */
  sshAliveSeconds: 20,
  /** What is cleaned up on a server after a failure may take so long. */
  sftpCleanUpMs: 10_000,
  /** A Docker Engine that says nothing for so long is given up. Stopping a container takes as long as the container may take. */
  engineAnswerMs: 120_000,
  /** A Kubernetes cluster that says nothing for so long is given up. */
  clusterAnswerMs: 30_000,
  /** Pods of a workload that is scaled to none may take so long to end. */
  podsEndMs: 300_000,
  /** A web process that does not answer within this time is not healthy. */
  healthAnswerMs: 10_000,
  /** One that was started is given so long to become well: Rails loads its code first, on a slow machine for minutes. */
  healthPatienceMs: 300_000,
  /** Between two looks at something that is waited for and may take minutes … */
  lookAgainMs: 1_000,
  /** A git whose caller was killed may take so long to end what it began. */
  gitEndsMs: 120_000,
  /** … or is most often there at once. */
  lookSoonMs: 200,
  /** … and is looked for so densely for so long. */
  soonMs: 10_000,
  /** Nobody must be seen so often in a row, and over so long a time. */
  nobodyLooks: 6,
  nobodyMs: 1_000,
  /** That a person's own start command has not ended yet is told after so long … */
  startCommandToldMs: 30_000,
  /** … and it is ended after so long: one that pulls images first may take minutes, and one that stays in the foreground never ends. */
  startCommandPatienceMs: 15 * 60_000,
  /** A process that was started is given so long to run … */
  startPatienceMs: 120_000,
  /** … and must stay up for so long to count, … */
  steadyMs: 10_000,
  /** … or, once it was seen at work, so long. */
  steadyAtWorkMs: 1_000,
  /** Sessions of processes that were stopped may take so long to end. */
  nobodyPatienceMs: 90_000,
  /** What is shown of what a process printed last. */
  lastWordsLines: 15,
  /** Uploaded files that are asked for through the application, and how large one may be. */
  filesAskedFor: 5,
  fileAskedForBytes: 8 * MIB,
  /** After an upgrade, Chatwoot's web process may take so long to be well, unless somebody says otherwise; … */
  guardWaitMs: 10 * 60_000,
  /** … it is asked so often … */
  guardLookMs: 1_000,
  /** … and must be well so often in a row: a process that fails in its first second was well, too. */
  guardWellLooks: 2,
  /** A restore point that is older when an upgrade begins lacks so much that it is told. */
  guardPointAgeMs: 3_600_000,
  /** A restore point that was made of a moment is kept so long, unless it is held. */
  momentKeptMs: 24 * 3_600_000,
  /** A time that is later than now by more than this is a slip, and no difference of clocks. */
  momentAheadMs: 2 * 60_000,
  /** Of a moment at which a base was being taken, an earlier one is tried; so many at most. */
  servingBases: 3,
  /** Restore points on either side of a moment that are asked for files which the nearest lacks. */
  momentNeighbours: 3,
  /** Of a log that is replayed, so much lies ready for the server. */
  walAheadBytes: 128 * MIB,
  /** Of a base, or of a log, that has no more, no threads are started for the reading: that takes as long. */
  readHereBytes: 64 * MIB,
  /** So many of its files are read at once: a place far away answers slowly, and a thread unpacks one at a time. */
  walFetches: 3,
  /** A container that does not end after its input ended is removed. */
  containerStopMs: 20_000,
  /** A child process that does not end after its input ended is ended. */
  sshStopMs: 3_000,
  /** Requests that a REST server has at once; restic's number. */
  restConnections: 5,
  /** A REST server that sends nothing for so long is gone. */
  restIdleMs: 120_000,
  /** A list of a REST server's files: 100 bytes each. */
  restListMaxBytes: 256 * MIB,
  /** A call to a remote place that failed is tried again for so long; restic's number … */
  retryPatienceMs: 15 * 60_000,
  /** … but a place that never answered is more likely misspelt than down, and a person waits. */
  retryFirstContactMs: 10_000,
  /** What a rollback takes out of a bucket again is tried for so long: Chatwoot is stopped meanwhile, and does not need it. */
  retryUndoMs: 30_000,
  /** Longest first wait; it doubles each time … */
  retryFirstWaitMs: 1_000,
  /** … up to this. */
  retryLongestWaitMs: 60_000,
  /** A call to a remote place that moves nothing has ended after so long … */
  storeStallMs: 120_000,
  /** … and one that moves bytes gets longer, as a line of this speed needs. Bytes a second. */
  storeSlowestRate: 32 * KIB,
  /** What a read moves at most whose length nobody knows before. */
  storeUnknownReadBytes: 32 * MIB,
  /** Index files, snapshots, and packs of trees of one remote repository that are kept on this machine: of each kind … */
  cacheMaxBytes: 1024 * MIB,
  /** … and packs are looked at again, whether they are too many, when so much was added. */
  cacheLookBytes: 64 * MIB,
  /** From so many chunks on an index is kept on this machine ready for use: a smaller one is read in 0.2 seconds … */
  keptIndexChunks: 200_000,
  /** … and kept anew when one in so many of them came since. */
  keptIndexGrowth: 10,
  /** Small requests by which a place's latency is known. */
  probeRequests: 7,
  /** What letting go of remote places may take when a run is over. */
  letGoMs: 1_000,
  /** A file that tries a place's speed … */
  probeFirstBytes: 256 * KIB,
  /** … and the next one, unless the first took … */
  probeBytes: 4 * MIB,
  /** … longer than this. */
  probeLongMs: 1_000,
  /** A file of an earlier try that is older than this is nobody's any more. */
  probeKeptMs: 10 * 60_000,
  /** What removing it after a failure may take. */
  probeCleanUpMs: 10_000,
  /** `doctor` speaks of a place that takes longer to answer a small request … */
  slowAnswerMs: 500,
  /** … or moves fewer bytes a second … */
  slowRate: 512 * KIB,
  /** … and of a clock that differs by more. */
  clockOffMs: 2 * 60_000,
  /** A clock that goes on by so much more or less than time did was set. */
  clockSetMs: 5_000,
  /** A commit that lies further in the future is of a clock that was wrong, and says nothing of what is safe. */
  commitAheadMs: 2 * 3_600_000,
  /** Members of a tar file that holds a repository: 16 TB of packs. */
  tarMembers: 1_000_000,
  /** What a tar file may say about one member beside its header. */
  tarRecordMaxBytes: 1 * MIB,
  /** Output of a child process that is kept to explain its failure. */
  stderrKeptBytes: 64 * KIB,
  /** Calls that each thread has under way at one remote place, where the configuration does not say. */
  storeConnections: 16,
  /** A Redis that is starting or has just failed over is asked again for so long, … */
  redisPatienceMs: 10_000,
  /** … so often; … */
  redisPollMs: 500,
  /** … each connection is waited for so long, … */
  redisConnectMs: 5_000,
  /** … then being let in, … */
  redisGreetingMs: 10_000,
  /** … and each answer: one thread answers everybody. */
  redisAnswerMs: 30_000,
  /** Commands that are sent before the first of their answers is waited for. */
  redisPipeline: 1_000,
  /** A remote place that takes no connection within this time does not answer … */
  storeConnectMs: 15_000,
  /** … nor one that is silent for so long in the middle of a request. */
  storeSilenceMs: 60_000,
  /** Of a disk with a repository so much is left to others, PostgreSQL and Redis among them, … */
  diskReserveBytes: 512 * MIB,
  /** … or of a small one this share. */
  diskReserveShare: 1 / 50,
  /** What is left is looked at when a pack has grown by so much: records and other small things may use the rest. */
  diskLookBytes: 1 * MIB,
  /** A disk with less free is told of … */
  diskLowBytes: 5 * 1024 * MIB,
  /** … or a small one with less than this share, of room or of files that it can still have. */
  diskLowShare: 1 / 10,
  /** A configuration file that is saved or read whole. */
  configFileMaxBytes: 64 * MIB,
  /** Files saved as configuration: a folder named by mistake must not fill the repository. */
  configFiles: 20_000,
  /** Clocks of two machines may differ by so much without a word. */
  clockDifferenceMs: 10 * 60_000,
  /** An untracked file of the code that is larger is more likely somebody's dump than code. */
  codeFileMaxBytes: 256 * MIB,
  /** Untracked files, or files of a folder of code without git. */
  codeFiles: 100_000,
  /** Telling somebody takes no longer, each try by HTTP … */
  noticeMs: 15_000,
  /** … and by mail, where servers make strangers wait; … */
  mailMs: 45_000,
  /** … it is tried again after these waits, … */
  noticeWaitsMs: [2_000, 8_000] as readonly number[],
  /** … or after what the service asks for, up to this; … */
  noticeLongestWaitMs: 30_000,
  /** … through so many redirects. */
  noticeRedirects: 3,
  /** Of an answer that says why not. */
  noticeAnswerBytes: 4 * KIB,
  /** Notices that could not be delivered, at most, … */
  noticesKept: 50,
  /** … and for so long: older ones are of no use. */
  noticeKeptMs: 7 * 24 * 3_600_000,
  /** Channels that are told at once. */
  noticeChannels: 4,
  /** Findings that a notice lists. */
  noticeFindings: 20,
  /** Uploaded files whose loss is known and is let be without a word from anybody, if half of a service is still there … */
  knownLossFiles: 10,
  /** … and the share of a service's files of which the same holds. */
  knownLossShare: 0.02,
  /** A hook of the configuration that says nothing else. */
  hookMs: 10 * 60_000,
  /** Lines of a hook's output that are shown. */
  hookLines: 500,
  /** A run's lock is touched so often … */
  runLockTouchMs: 60_000,
  /** … and one that was not for so long is nobody's, where its process cannot be seen. */
  runLockSilentMs: 10 * 60_000,
  /** A run that has held it for longer than this hangs: whoever meets it tells. */
  runHangsMs: 24 * 3_600_000,
  /** A run that was killed is not begun again before so long after it began: what killed it may do so again. */
  killedRunMs: 3_600_000,
  /** That a run cannot begin, by the same error, is told again after so long: less than a day, for runs come by chance. */
  notBegunAgainMs: 20 * 3_600_000,
  /** How often a run tries to get it, others coming and going. */
  runLockAttempts: 10,
  /** A daily run comes a little earlier or later: what is due in less is due now. */
  dueEarlyMs: 12 * 3_600_000,
  /** Where a watch was at work whenever something was to be removed, for so long, somebody must look. */
  putOffMostMs: 7 * 24 * 3_600_000,
  /** Processes of one systemd unit whose environment is looked at. */
  unitProcessesLookedAt: 32,
  /** A record of the write-ahead log that tells of a transaction is looked into up to here: four million subtransactions. */
  walTransactionBytes: 16 * MIB,
  /** Of one that tells of rows, no more is needed: its list, images of its pages and the first of its main data. */
  walRowBytes: 128 * KIB,
  /** Files of tables, of all transactions that are open, of which rows are counted; about 200 bytes each. */
  walOpenFiles: 200_000,
  /** Uploaded files of one service that a manifest names as missing or damaged; of more there is a list of all. */
  missingNamed: 1000,
  /** That list is cut at every 2^n ids, so that what is new changes its end alone. */
  missingListBits: 14,
  /** What a point lacks, by name, in the mark that says so. */
  shortcomings: 1000,
  /**
   * Files of a database's cluster are cut here: eight pages of 8 KiB, from the file's beginning. Of scattered pages of which
   * one in a hundred changed, one piece in thirteen is new; pieces of one page would want eight times the index.
   */
  baseChunkBytes: 64 * KIB,
  /**
   * Files of one database, which lie in one folder, are this much at most: of each piece its folder's JSON has 67 bytes, and that
   * unpacks to {@link LIMITS.unpackedMaxBytes} at most (489 GiB, less what is said of each file).
   */
  baseDatabaseBytes: 480 * 1024 * MIB,
  /** Segments of the log are cut here, so that one which was stored half is stored again without that half. */
  walChunkBytes: 1 * MIB,
  /** What comes over a line is handed to a sealing thread in parts of about this much. */
  piecesBytes: 2 * MIB,
  /** Segments of which a repository has versions that differ, and of which it is found out which one is right: the newest ones. */
  settledSegments: 64,
  /** Larger segments are not read for that: all versions of one and of those beside it lie in memory. */
  settledSegmentBytes: 64 * MIB,
  /** Memory that threads share is allocated in this much, of which what is not used takes none: above 32 MiB it has its own mapping. */
  sharedAreaBytes: 33 * MIB,
  /** One object of the journal holds so much of the log at most, before it is packed: it lies in memory whole. */
  journalObjectBytes: 8 * MIB,
  /** Objects of the journal that are compared with the spans that have their place, before they go; the rest goes with a later run. */
  comparedObjects: 1_000,
  /** Where more of them lie in the place of spans, nothing can be removed there: they are not read for that. */
  coveredObjects: 100,
  /** Objects of the journal that are read at once. */
  journalReads: 8,
  /** What a repository has is listed so often at most for one look, where it changes between the list and the reading. */
  journalLists: 5,
  /** Where nothing can be removed the journal is written no more often than this: half a million objects a year. */
  journalKeptFlushMs: 60_000,
} as const;
