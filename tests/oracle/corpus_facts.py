"""Plain general knowledge of the built-in model: short facts, how-tos, definitions, small talk.

Each bank is a list of (question forms, answer) built from tables; corpus.py samples from them.
"""

CAPITALS = """France:Paris Germany:Berlin Italy:Rome Spain:Madrid Portugal:Lisbon Austria:Vienna Japan:Tokyo China:Beijing
Egypt:Cairo Kenya:Nairobi Greece:Athens Norway:Oslo Sweden:Stockholm Finland:Helsinki Denmark:Copenhagen Poland:Warsaw
Hungary:Budapest Ireland:Dublin England:London Scotland:Edinburgh Russia:Moscow Turkey:Ankara India:Delhi Canada:Ottawa
Cuba:Havana Peru:Lima Chile:Santiago Iceland:Reykjavik Belgium:Brussels Switzerland:Bern Romania:Bucharest Serbia:Belgrade
Croatia:Zagreb Thailand:Bangkok Vietnam:Hanoi Korea:Seoul Morocco:Rabat Iran:Tehran Iraq:Baghdad Ukraine:Kyiv"""

OPPOSITES = """hot:cold big:small fast:slow old:young new:old light:dark high:low happy:sad early:late open:closed full:empty
hard:soft rich:poor strong:weak long:short wet:dry near:far loud:quiet clean:dirty thick:thin sweet:sour wide:narrow
good:bad right:wrong up:down day:night first:last heavy:light deep:shallow warm:cool cheap:expensive"""

BABIES = """dog:puppy cat:kitten cow:calf horse:foal sheep:lamb goat:kid pig:piglet duck:duckling hen:chick bear:cub lion:cub
swan:cygnet deer:fawn frog:tadpole kangaroo:joey goose:gosling"""

DIETS = """cow:grass horse:hay_and_grass rabbit:carrots_and_leaves cat:meat_and_fish dog:meat_and_dry_food panda:bamboo
bee:nectar bear:fish_and_berries mouse:seeds_and_grain koala:leaves frog:insects owl:mice squirrel:nuts goat:grass_and_leaves
hen:grain penguin:fish whale:tiny_sea_animals hamster:seeds parrot:fruit_and_nuts snake:mice"""

LEGS = "spider:eight dog:four cat:four bird:two ant:six bee:six horse:four crab:ten snake:no duck:two beetle:six octopus:no"

COLOURS = """sky:blue grass:green snow:white sun:yellow blood:red coal:black carrot:orange lemon:yellow banana:yellow
tomato:red milk:white elephant:grey chocolate:brown cucumber:green sea:blue rose:red strawberry:red spinach:green"""

COUNTS = [("days", "a week", "seven"), ("months", "a year", "twelve"), ("hours", "a day", "twenty-four"),
    ("minutes", "an hour", "sixty"), ("seconds", "a minute", "sixty"), ("weeks", "a year", "fifty-two"),
    ("players", "a football team", "eleven"), ("players", "a basketball team", "five"), ("strings", "a guitar", "six"),
    ("strings", "a violin", "four"), ("eggs", "a dozen", "twelve"), ("letters", "the alphabet", "twenty-six"),
    ("wheels", "a car", "four"), ("seasons", "a year", "four"), ("planets", "the solar system", "eight"),
    ("keys", "a piano", "eighty-eight"), ("sides", "a triangle", "three"), ("cards", "a deck", "fifty-two"),
    ("grams", "a kilogram", "one thousand"), ("years", "a century", "one hundred"), ("fingers", "one hand", "five"),
    ("continents", "the world", "seven"), ("players", "a volleyball team", "six"), ("metres", "a kilometre", "one thousand")]

AUTHORS = [("Hamlet", "William Shakespeare"), ("Oliver Twist", "Charles Dickens"), ("Emma", "Jane Austen"),
    ("Dracula", "Bram Stoker"), ("Frankenstein", "Mary Shelley"), ("War and Peace", "Leo Tolstoy"),
    ("Moby Dick", "Herman Melville"), ("Faust", "Johann Wolfgang von Goethe"), ("Treasure Island", "Robert Louis Stevenson"),
    ("The Trial", "Franz Kafka"), ("Jane Eyre", "Charlotte Bronte"), ("Don Quixote", "Miguel de Cervantes"),
    ("The Odyssey", "Homer"), ("Peter Pan", "J. M. Barrie"), ("Dubliners", "James Joyce"), ("Les Miserables", "Victor Hugo")]

DEFINITIONS = [line.split("|") for line in """a planet|A planet is a large round body that moves around a star.|science
a star|A star is a huge ball of hot gas that gives light.|science
a volcano|A volcano is a mountain that can throw out hot rock and ash.|science
an island|An island is land with water on all sides.|travel
a desert|A desert is a dry place with very little rain.|travel
a river|A river is a long stream of water that flows to the sea.|travel
a passport|A passport is a document that you need to travel to other countries.|travel
a hostel|A hostel is a cheap place to sleep where rooms are often shared.|travel
jet lag|Jet lag is the tired feeling after a long flight across time zones.|travel
jazz|Jazz is a style of music with swing and improvisation.|music
an opera|An opera is a play in which the words are sung.|music
a melody|A melody is a row of notes that you can sing.|music
a chord|A chord is three or more notes played together.|music
a choir|A choir is a group of people who sing together.|music
an orchestra|An orchestra is a large group of musicians who play together.|music
a drum|A drum is an instrument that you hit to make a sound.|music
a violin|A violin is a small instrument with four strings and a bow.|music
a marathon|A marathon is a race of about forty-two kilometres.|sport
tennis|Tennis is a game in which players hit a ball over a net with a racket.|sport
football|Football is a game in which two teams try to kick a ball into a goal.|sport
yoga|Yoga is a practice of slow movement, breathing and rest.|sport
chess|Chess is a board game for two players with kings and queens.|sport
a referee|A referee is the person who watches the rules of a game.|sport
a coach|A coach is a person who trains a team or an athlete.|sport
compost|Compost is old plant waste that turns into good soil.|home
a seed|A seed is the small part of a plant that grows into a new one.|home
a greenhouse|A greenhouse is a glass house that keeps plants warm.|home
a cactus|A cactus is a plant with spines that stores water.|home
a ladder|A ladder is a tool with steps that you climb.|home
a hammer|A hammer is a tool for driving nails.|home
a carpet|A carpet is a thick cover for the floor.|home
a vacuum cleaner|A vacuum cleaner is a machine that sucks up dust.|home
an invoice|An invoice is a paper that says what you have to pay.|work
a deadline|A deadline is the time by which work must be done.|work
a colleague|A colleague is a person you work with.|work
a salary|A salary is the money that you get for your work.|work
a contract|A contract is a written agreement between people.|work
an interview|An interview is a talk in which you are asked questions for a job.|work
a spreadsheet|A spreadsheet is a table on a computer for numbers and text.|work
a calendar|A calendar shows the days, weeks and months of a year.|work
a fever|A fever is a body temperature that is higher than normal.|health
a vitamin|A vitamin is something in food that the body needs in small amounts.|health
a cold|A cold is a mild illness with a runny nose and a cough.|health
a muscle|A muscle is a part of the body that makes it move.|health
the heart|The heart is the organ that pumps blood through the body.|health
an allergy|An allergy is when the body reacts badly to something harmless.|health
a dentist|A dentist is a doctor for the teeth.|health
stress|Stress is the feeling of too much pressure.|health
a novel|A novel is a long story that fills a whole book.|books
a poem|A poem is a short text with rhythm and often with rhyme.|books
a fairy tale|A fairy tale is an old story with magic in it.|books
a biography|A biography is the story of a real person's life.|books
a library|A library is a place where you can borrow books.|books
a comedy|A comedy is a story that makes people laugh.|books
a tragedy|A tragedy is a story with a sad end.|books
a documentary|A documentary is a film about real things.|books
a director|A director is the person who leads the making of a film.|books
an actor|An actor is a person who plays a part in a film or a play.|books
a vet|A vet is a doctor for animals.|pets
a puppy|A puppy is a young dog.|pets
a kitten|A kitten is a young cat.|pets
a hamster|A hamster is a small animal that stores food in its cheeks.|pets
a parrot|A parrot is a colourful bird that can copy words.|pets
an aquarium|An aquarium is a glass tank for fish.|pets
a leash|A leash is a strap for walking a dog.|pets
bread|Bread is a food made from flour, water and yeast.|food
cheese|Cheese is a food made from milk.|food
pasta|Pasta is an Italian food made from flour and water.|food
sushi|Sushi is a Japanese dish of rice and fish.|food
a recipe|A recipe tells you how to cook a dish.|food
yeast|Yeast is what makes bread rise.|food
honey|Honey is a sweet food made by bees.|food
butter|Butter is a fat made from cream.|food
a spice|A spice is a dried part of a plant that gives food its taste.|food
coffee|Coffee is a hot drink made from roasted beans.|food
tofu|Tofu is a soft food made from soy beans.|food
soup|Soup is a hot liquid meal of vegetables, meat or fish.|food
the moon|The moon is the round body that circles the earth.|science
the sun|The sun is the star that gives us light and warmth.|science
rain|Rain is water that falls from clouds.|science
snow|Snow is frozen water that falls in white flakes.|science
a rainbow|A rainbow is a band of colours in the sky when sun meets rain.|science
gravity|Gravity is the force that pulls things to the ground.|science
oxygen|Oxygen is the gas that we need to breathe.|science
a computer|A computer is a machine that works with data.|science
the internet|The internet is a network that links computers all over the world.|science
a robot|A robot is a machine that can do tasks by itself.|science
electricity|Electricity is a form of energy that runs our machines.|science
an atom|An atom is a very small part of which all things are made.|science""".splitlines()]

HOWTOS = [line.split("|") for line in """boil an egg|Put the egg in boiling water for about eight minutes.
cook rice|Use two cups of water for one cup of rice and let it simmer with the lid on.
make coffee|Pour hot water slowly over ground coffee in a filter.
bake bread|Mix flour, water, salt and yeast, let the dough rise and bake it until it is brown.
cook pasta|Boil plenty of salted water and cook the pasta until it is just soft.
fry an egg|Heat a little butter in a pan and fry the egg until the white is firm.
make soup|Cook vegetables in broth until they are soft and season with salt and pepper.
peel garlic|Press the clove with the flat side of a knife and pull off the skin.
store fresh bread|Keep the bread in a paper bag or a wooden box.
keep salad fresh|Wash it, dry it and keep it in a box in the fridge.
cut an onion without tears|Use a sharp knife and cool the onion first.
make pancakes|Mix flour, milk and eggs and fry thin rounds in a hot pan.
roast vegetables|Cut them, add oil and salt and roast them in a hot oven for half an hour.
make lemonade|Mix lemon juice, water and sugar and add ice.
pack a suitcase|Roll your clothes, put heavy things at the bottom and leave some space.
find a cheap flight|Compare prices early and be flexible with the dates.
book a hotel|Check the place and the reviews and book on the website or by phone.
read a map|Find the north, look for landmarks and follow the scale.
avoid jet lag|Sleep on the plane, drink water and get daylight after you arrive.
plan a trip|Choose a place, set a budget and book the travel and the rooms.
ask for directions|Be polite, say where you want to go and repeat the answer.
learn a language|Practise a little every day and speak as much as you can.
tune a guitar|Turn the pegs and compare each string with a tuner.
learn to sing|Practise breathing, sing scales and listen to yourself.
read music|Learn the names of the notes and practise with simple songs.
write a song|Start with a short melody and find words that fit it.
practise the piano|Play slowly, use both hands and repeat the hard parts.
run faster|Do short sprints, train your legs and rest enough.
start running|Begin with short slow runs and walk in between.
learn to swim|Take lessons, learn to float and practise breathing.
stretch after sport|Hold each stretch for half a minute and breathe slowly.
throw a ball far|Step forward, turn your body and follow through with the arm.
warm up before a game|Jog slowly, move your arms and stretch a little.
ride a bike|Look ahead, push off and keep pedalling to stay in balance.
clean a window|Use warm water with a little soap and wipe it dry.
remove a stain|Treat it quickly with cold water and a little soap.
wash a wool sweater|Wash it by hand in cool water and dry it flat.
plant a tree|Dig a wide hole, set the tree in it, fill it with soil and water it well.
water plants|Water them in the morning and let the soil dry a little in between.
grow tomatoes|Give them sun, a stick to climb and water every day.
fix a flat tyre|Take off the wheel, patch the tube and pump it up again.
hang a picture|Mark the place, drive a nail and check that it is straight.
paint a wall|Clean it, cover the edges and paint two thin coats with a roller.
unclog a sink|Pour hot water down, use a plunger and clean the trap.
save energy at home|Turn off lights, lower the heating and close the windows.
get rid of ants|Clean up crumbs, close the cracks and use vinegar.
tidy a room|Put everything in its place and throw away what you do not need.
sharpen a knife|Draw the blade over a whetstone at a flat angle.
write an email|Start with a greeting, say what you need and end politely.
prepare for a meeting|Write down the topics, read the papers and bring your questions.
write a report|Collect the facts, put them in order and keep the sentences short.
ask for a raise|Choose a good moment, name your results and say a clear number.
save money|Write down what you spend and put some aside each month.
stay focused at work|Turn off your phone, make a list and do one thing at a time.
give a talk|Practise aloud, speak slowly and look at the people.
find a job|Write a good letter, look at the offers and ask people you know.
write a letter|Put the date on top, greet the person and say what you want to say.
stop hiccups|Hold your breath for a moment or drink a glass of water slowly.
treat a small cut|Wash it with clean water and cover it with a plaster.
lower a fever|Rest, drink a lot and keep cool.
sit without back pain|Keep your back straight, put both feet down and stand up often.
eat more healthy food|Eat vegetables with every meal and drink water.
calm down|Breathe slowly, count to ten and take a short walk.
brush my teeth|Brush them for two minutes in the morning and in the evening.
protect my skin from the sun|Use sun cream, wear a hat and stay in the shade at noon.
read more books|Keep a book close by and read a few pages every evening.
write a poem|Choose a feeling, find pictures for it and play with the sound.
write a story|Think of a person who wants something and of what stands in the way.
take a good photo|Look for good light, hold the camera still and keep it simple.
draw a face|Draw an oval, mark the middle and place eyes, nose and mouth.
train a puppy|Be patient, use treats and repeat short exercises.
brush a cat|Use a soft brush and follow the direction of the fur.
clean a fish tank|Change part of the water each week and wipe the glass.
teach a dog to sit|Hold a treat over its nose, say sit and praise it.
keep a cat happy|Give it food, clean water, toys and a quiet place.
wash a dog|Use warm water and mild shampoo and dry it with a towel.
make new friends|Join a club, be open and ask people about themselves.
say sorry|Say what you did wrong, say sorry and make it good again.
cheer up a friend|Listen to your friend, be kind and do something nice together.
tie a tie|Cross the ends, wrap the wide one around and pull it through the loop.
change a light bulb|Turn off the power, take out the old bulb and put in the new one.
charge my phone faster|Use a strong charger and turn on flight mode.
choose a good password|Use many characters, no real words and a new one for each site.
iron a shirt|Start with the collar, then the sleeves and then the rest.
wrap a present|Lay the box on the paper, fold the edges and fix them with tape.""".splitlines()]

YESNO = [line.split("|") for line in """Is fish healthy|Yes, fish has good fats and a lot of protein.
Is too much sugar bad|Yes, too much sugar is bad for the teeth and the heart.
Can dogs eat chocolate|No, chocolate is dangerous for dogs.
Can cats swim|Yes, cats can swim, but most do not like it.
Is the earth round|Yes, the earth is round like a ball.
Is the moon a star|No, the moon is not a star.
Do fish sleep|Yes, fish rest, but they do not close their eyes.
Can penguins fly|No, penguins cannot fly, but they swim well.
Is coffee good for me|A little coffee is fine for most people.
Is it safe to travel alone|Yes, if you are careful and tell someone your plans.
Do plants need light|Yes, plants need light to grow.
Is a whale a fish|No, a whale is a mammal.
Is a tomato a fruit|Yes, a tomato is a fruit.
Does sport help against stress|Yes, sport helps many people to relax.
Do bees make honey|Yes, bees make honey from nectar.
Is water wet|Yes, water is wet.
Can I learn the piano as an adult|Yes, it is never too late to learn.
Should I drink water before sport|Yes, a glass of water before sport is good.
Is breakfast important|For many people breakfast is a good start to the day.
Is the sun hot|Yes, the sun is very hot.
Do I need a visa for a holiday|It depends on the country, so check before you go.
Can I freeze bread|Yes, bread freezes well for some weeks.
Are mushrooms plants|No, mushrooms are not plants.
Is reading good for children|Yes, reading is very good for children.""".splitlines()]

SMALL_TALK = [
    (["Hello.", "Hi.", "Hello there!", "Hey!", "hi there", "Hello, bot."], ["Hello! How can I help you?"]),
    (["Good morning.", "Good morning!", "Morning!", "A very good morning to you."], ["Good morning! How are you today?"]),
    (["Good evening.", "Evening!", "Good evening to you."], ["Good evening! What can I do for you?"]),
    (["Good night.", "Good night!", "I am going to bed now."], ["Good night and sleep well."]),
    (["How are you?", "How are you today?", "How do you do?", "Are you well?", "How is it going?"], ["I am fine, thank you. How are you?"]),
    (["Thank you.", "Thanks!", "Thanks a lot.", "Thank you very much.", "That helps, thanks.", "Great, thank you."], ["You are welcome."]),
    (["Goodbye.", "Bye!", "See you later.", "See you tomorrow.", "Bye bye."], ["Goodbye and take care."]),
    (["Who are you?", "What are you?", "Tell me who you are.", "Are you a person?"], ["I am a small assistant that answers simple questions."]),
    (["What is your name?", "Do you have a name?", "What are you called?", "How should I call you?"], ["I have no name, but I am happy to help."]),
    (["What can you do?", "How can you help me?", "What are you good at?"], ["I can answer simple questions and give ideas."]),
    (["I am tired.", "I am so tired today.", "I feel very tired.", "What a tiring day."], ["I am sorry to hear that. Get some rest."]),
    (["I am sad.", "I feel sad today.", "I am feeling down.", "I feel blue."], ["I am sorry to hear that. Do you want to talk about it?"]),
    (["I am happy.", "I feel great today!", "I am in a good mood.", "What a lovely day!"], ["That is wonderful to hear."]),
    (["I am bored.", "This is so boring.", "I have nothing to do.", "I am a bit bored."], ["You could read a book, take a walk or call a friend."]),
    (["I am hungry.", "I could eat a horse.", "I need some food."], ["Then it is time for a good meal."]),
    (["I am thirsty.", "I need a drink.", "I am so thirsty."], ["A glass of water will help."]),
    (["It is raining.", "It is raining again.", "What terrible rain.", "So much rain today."], ["Then it is a good day to stay inside."]),
    (["It is so hot today.", "What a heat!", "It is very warm outside."], ["Drink enough water and stay in the shade."]),
    (["It is cold outside.", "I am freezing.", "It is so cold today."], ["Put on something warm and have a hot drink."]),
    (["I am ill.", "I feel sick.", "I have a cold.", "I do not feel well."], ["Get well soon. Rest and drink a lot."]),
    (["I won a game today!", "We won!", "I passed my exam!", "I got the job!"], ["Congratulations! Well done."]),
    (["I lost my keys.", "I cannot find my keys.", "Where are my keys?"], ["Look in your pockets and think of where you had them last."]),
    (["Sorry.", "I am sorry.", "Sorry about that.", "My mistake."], ["No problem."]),
    (["Okay.", "Ok.", "ok", "Alright.", "Fine.", "ok then"], ["All right."]),
    (["Hmm.", "hm", "Let me think.", "I am not sure."], ["Take your time."]),
    (["Never mind.", "Forget it.", "It does not matter."], ["No problem."]),
    (["haha", "lol", "That is funny.", "You are funny."], ["I am glad it made you laugh."]),
    (["Wait.", "One moment.", "Hold on.", "brb"], ["I will be here."]),
    (["Are you there?", "Anyone there?", "Can you hear me?", "test"], ["Yes, I am here."]),
    (["I do not understand.", "What do you mean?", "That is not clear.", "huh?"], ["Let me know which part is unclear."]),
    (["I just got home.", "I am home again.", "I am back."], ["Welcome back."]),
    (["I have to work late.", "So much work today.", "My boss is angry."], ["I hope it gets better soon."]),
    (["Tell me a joke.", "Do you know a joke?", "Make me laugh."], ["Why did the bicycle fall over? It was two tired."]),
    (["I love you.", "You are great.", "You are so nice.", "Good bot."], ["Thank you, that is kind."]),
    (["Tell me something nice.", "Say something nice.", "Cheer me up."], ["You are doing better than you think."]),
]

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
NUMBERS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
eighteen nineteen twenty""".split()

NOUNS = """apple bridge candle dream engine forest garden hammer island jacket kitchen ladder mirror needle ocean pencil quilt
river saddle table umbrella valley window yard basket carpet dragon elephant feather guitar harbour insect jewel kettle lemon
market notebook onion pillow queen rabbit shovel ticket uncle village whistle zebra bottle camera doctor flower glove hotel
button castle donkey curtain lawyer museum orange parrot rocket spoon tunnel violin wallet anchor barrel cabin dagger tower
sister brother teacher neighbour bakery station farmer singer painter lamp shoe coat cloud storm stone leaf bird boat train
school church street office letter story song game picture voice hand face heart morning night winter summer spring autumn""".split()
ADJECTIVES = """small big old new red blue green yellow quiet loud soft hard warm cold sweet bitter bright dark strange funny lazy
clever brave gentle heavy light round flat broken empty full golden silver wooden famous lonely young ancient tiny huge""".split()
VERBS = """paint build carry clean cook draw drive find fix grow help hold keep learn open pack plant play push read repair
sell sing store teach throw train wash watch write buy borrow hide lift move order pick share sort taste visit""".split()


def pairs(text):
    """`a:b_c d:e` -> [(a, "b c"), (d, "e")]."""
    return [tuple(part.replace("_", " ") for part in item.split(":")) for item in text.split()]


def article(noun):
    """`a` or `an`."""
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def bank():
    """All facts as (kind, [question forms], [answers])."""
    out = []
    for country, city in pairs(CAPITALS):
        out.append(("capital", [f"What is the capital of {country}?", f"Which city is the capital of {country}?",
            f"Name the capital of {country}.", f"Tell me the capital of {country}.", f"What is {country}'s capital?",
            f"Do you know the capital of {country}?", f"{country}'s capital city?"], [f"The capital of {country} is {city}."]))
        out.append(("where", [f"Where is {city}?", f"In which country is {city}?", f"{city} is in which country?",
            f"Which country is {city} in?"], [f"{city} is in {country}."]))
    for a, b in pairs(OPPOSITES):
        out.append(("opposite", [f"What is the opposite of {a}?", f"Tell me the opposite of {a}.", f"What is the contrary of {a}?",
            f"Name the opposite of {a}.", f"Which word is the opposite of {a}?"], [f"The opposite of {a} is {b}."]))
    for a, b in pairs(BABIES):
        out.append(("baby", [f"What is a baby {a} called?", f"What do you call a baby {a}?", f"What is a young {a} called?",
            f"What is the name for a young {a}?"], [f"A baby {a} is called a {b}."]))
    for a, b in pairs(DIETS):
        name = article(a)
        out.append(("diet", [f"What does {name} eat?", f"What do {'mice' if a == 'mouse' else a + 's'} eat?", f"What should {name} eat?",
            f"Which food does {name} eat?", f"Tell me what {name} eats."], [f"{name.capitalize()} eats {b}."]))
    for a, b in pairs(LEGS):
        name = article(a)
        out.append(("legs", [f"How many legs does {name} have?", f"How many legs has {name}?", f"Tell me how many legs {name} has.",
            f"What number of legs does {name} have?"], [f"{name.capitalize()} has {b} legs."]))
    for a, b in pairs(COLOURS):
        name = article(a) if a in "carrot lemon banana tomato elephant cucumber rose strawberry".split() else ("the " + a if a in "sky sun sea".split() else a)
        out.append(("colour", [f"What colour is {name}?", f"Which colour is {name}?", f"What is the colour of {name}?",
            f"Tell me the colour of {name}.", f"Which colour does {name} have?"], [f"{name.capitalize()} is {b}."]))
    for unit, whole, number in COUNTS:
        out.append(("count", [f"How many {unit} are in {whole}?", f"How many {unit} does {whole} have?", f"How many {unit} are there in {whole}?",
            f"Tell me how many {unit} are in {whole}.", f"What is the number of {unit} in {whole}?"], [f"There are {number} {unit} in {whole}."]))
    for book, author in AUTHORS:
        out.append(("author", [f"Who wrote {book}?", f"Who is the author of {book}?", f"Which author wrote {book}?",
            f"Tell me who wrote {book}.", f"{book} was written by whom?", f"Do you know who wrote {book}?"], [f"{book} was written by {author}."]))
    for thing, answer, _ in DEFINITIONS:
        bare = thing.split(" ", 1)[1] if thing.split(" ")[0] in ("a", "an", "the") else thing
        out.append(("define", [f"What is {thing}?", f"Tell me what {thing} is.", f"Can you explain what {thing} is?", f"What does the word {bare} mean?",
            f"Please explain {bare} to me.", f"Define {bare}.", f"What exactly is {thing}?", f"Do you know what {thing} is?"], [answer]))
    for task, answer in HOWTOS:
        out.append(("howto", [f"How do I {task}?", f"How can I {task}?", f"What is the best way to {task}?", f"Can you tell me how to {task}?",
            f"Tell me how to {task}.", f"I want to {task}.", f"Any tips to {task}?", f"What do I need to do to {task}?", f"How should I {task}?",
            f"I would like to know how to {task}.", f"Explain how to {task}."], [answer]))
    for question, answer in YESNO:
        rest = question[0].lower() + question[1:]
        out.append(("yesno", [f"{question}?", f"Tell me, {rest}?", f"I want to know: {rest}?", f"{question}, yes or no?", f"Is it true: {rest}?"], [answer]))
    for i, day in enumerate(DAYS):
        after, before = DAYS[(i + 1) % 7], DAYS[i - 1]
        out.append(("next", [f"What day comes after {day}?", f"Which day follows {day}?", f"Which day comes after {day}?", f"What is the day after {day}?"], [f"{after} comes after {day}."]))
        out.append(("before", [f"What day comes before {day}?", f"Which day is before {day}?", f"What is the day before {day}?"], [f"{before} comes before {day}."]))
    for i, month in enumerate(MONTHS):
        after = MONTHS[(i + 1) % 12]
        out.append(("next", [f"What month comes after {month}?", f"Which month follows {month}?", f"Which month comes after {month}?", f"What is the month after {month}?"], [f"{after} comes after {month}."]))
    for a in range(11):
        for b in range(10):
            if a + b <= 20:
                na, nb, nc = NUMBERS[a], NUMBERS[b], NUMBERS[a + b]
                out.append(("sum", [f"What is {na} plus {nb}?", f"How much is {na} plus {nb}?", f"What is {a} plus {b}?", f"Add {na} and {nb}.", f"{a} + {b} = ?"],
                    [f"{na.capitalize()} plus {nb} is {nc}."]))
    for forms, answers in SMALL_TALK:
        out.append(("talk", forms, answers))
    return out
